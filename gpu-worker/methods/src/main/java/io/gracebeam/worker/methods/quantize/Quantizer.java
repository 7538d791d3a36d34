package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import java.util.Set;

/**
 * A way to quantize the weights of one transformer block. Implementations are found by
 * ServiceLoader and named by {@code ExportWork.scales}; they have no state and a public constructor
 * without parameters.
 */
public interface Quantizer {
  /** The name that work and recipes use, unique among all quantizers. */
  String name();

  /** What {@link #quantize} asks its statistics for; empty for a method without calibration. */
  Set<Statistic> needs();

  /**
   * The weight of a token in {@link Statistic#WEIGHTED_SECOND_MOMENTS}. A method that needs them
   * overrides this: modality-balanced and router-aware methods differ in nothing else.
   *
   * @return a finite number of at least 0
   */
  default double weight(Token token) {
    return 1;
  }

  /**
   * Quantizes all linears of a block.
   *
   * @param block weights, norms and biases of the block
   * @param statistics what {@link #needs} names, for each linear of the block
   * @param scheme bits and groups, the same for all linears of the block
   * @return a matrix for each linear of the block, and the other tensors that had to change, for
   *     instance a norm that equalization factors were folded into
   * @throws GraceException user, if the method cannot serve the scheme; data, if the statistics do
   *     not fit the weights
   */
  QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme);
}
