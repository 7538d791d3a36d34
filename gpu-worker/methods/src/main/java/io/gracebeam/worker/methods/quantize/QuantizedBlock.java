package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.BiFunction;

/**
 * What a quantizer made of a block.
 *
 * @param matrices the quantized linears by the canonical name of their weights
 * @param changed other tensors of the block that are to be replaced, by canonical name
 */
public record QuantizedBlock(Map<String, QuantizedMatrix> matrices, Map<String, Tensor> changed) {
  /** Copies the maps. */
  public QuantizedBlock {
    matrices = new LinkedHashMap<>(matrices);
    changed = Map.copyOf(changed);
  }

  /** Every linear for itself, nothing else changed. */
  static QuantizedBlock each(Block block, BiFunction<Linear, float[], PackedWeight> quantize) {
    Map<String, QuantizedMatrix> out = new LinkedHashMap<>();
    for (Linear linear : block.linears()) {
      PackedWeight weight = quantize.apply(linear, block.values(linear));
      out.put(linear.weight(), QuantizedMatrix.of(weight));
    }
    return new QuantizedBlock(out, Map.of());
  }

  /**
   * Checks that this is what the block and the scheme call for.
   *
   * @param quantizer name of the quantizer that made it
   * @throws GraceException bug, if a linear is missing or has another form, or if a tensor was
   *     changed that the block does not have or in its shape
   */
  public void check(String quantizer, Block block, QuantScheme scheme) {
    for (Linear linear : block.linears()) {
      QuantizedMatrix made = matrices.get(linear.weight());
      if (made == null) {
        throw GraceException.bug("quantizer %s left out %s", quantizer, linear.weight());
      }
      PackedWeight w = made.weight();
      QuantSpec spec = scheme.spec(linear);
      int group = spec.perTensor() ? linear.cols() : spec.groupSize();
      String found = form(w.rows(), w.cols(), w.bits(), w.groupSize(), w.symmetric());
      String wanted = form(linear.rows(), linear.cols(), scheme.bits(), group, scheme.symmetric());
      if (!found.equals(wanted)) {
        throw GraceException.bug(
            "quantizer %s made %s as %s; called for is %s",
            quantizer, linear.weight(), found, wanted);
      }
    }
    if (matrices.size() != block.linears().size()) {
      throw GraceException.bug(
          "quantizer %s made %d matrices of %s, which has %d",
          quantizer, matrices.size(), block.name(), block.linears().size());
    }
    changed.forEach(
        (name, tensor) -> {
          Tensor before = block.tensors().get(name);
          if (before == null || !Arrays.equals(before.shape(), tensor.shape())) {
            throw GraceException.bug(
                "quantizer %s changed %s, which %s does not have in that shape",
                quantizer, name, block.name());
          }
        });
  }

  private static String form(int rows, int cols, int bits, int group, boolean symmetric) {
    return "%d x %d of %d bits in groups of %d %s zero points"
        .formatted(rows, cols, bits, group, symmetric ? "without" : "with");
  }
}
