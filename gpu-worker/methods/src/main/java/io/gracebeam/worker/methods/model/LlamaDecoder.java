package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.TrainingBlocks.Kind;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.kernels.TrainingBlocks.Sizes;
import java.util.Optional;

/**
 * LLaMA's decoder blocks: RMSNorm, rotary positions in halves, grouped queries, SwiGLU. Queries,
 * keys and values have biases where the names say so.
 */
public final class LlamaDecoder implements Decoder {
  private final DecoderSizes sizes;
  private final DecoderNames names;
  private final boolean tied;
  private final Rope rope;
  private final Weights weights;

  /** The decoder of a configuration, with one axis of positions. */
  public LlamaDecoder(ModelConfig config, Weights weights) {
    this(config, Rope.of(config.text().headDim(), config.text().ropeTheta()), weights);
  }

  /** The decoder of a configuration, with other frequencies. */
  public LlamaDecoder(ModelConfig config, Rope rope, Weights weights) {
    this.sizes = config.text();
    this.names = config.names();
    this.tied = config.tied();
    this.rope = rope;
    this.weights = weights;
  }

  @Override
  public Rope rope() {
    return rope;
  }

  @Override
  public NDArray block(NDArray x, int layer, Sequence sequence, KvCache cache) {
    NDArray normed = rmsNorm(x, names.of(layer, Parameter.NORM1));
    NDArray q =
        Ops.heads(linear(layer, Parameter.QUERY, Parameter.QUERY_BIAS, normed), sizes.heads());
    NDArray k =
        Ops.heads(linear(layer, Parameter.KEY, Parameter.KEY_BIAS, normed), sizes.kvHeads());
    NDArray v =
        Ops.heads(linear(layer, Parameter.VALUE, Parameter.VALUE_BIAS, normed), sizes.kvHeads());
    q = Ops.rotate(q, sequence.cos(), sequence.sin());
    k = Ops.rotate(k, sequence.cos(), sequence.sin());
    if (cache != null) {
      k = cache.appendKeys(layer, k);
      v = cache.appendValues(layer, v);
    }
    NDArray mixed = Ops.attention(q, k, v, sequence.mask());
    NDArray y = x.add(linear(layer, Parameter.OUT, Parameter.OUT_BIAS, mixed));
    NDArray inner = rmsNorm(y, names.of(layer, Parameter.NORM2));
    NDArray gate = Ops.silu(weights.linear(names.of(layer, Parameter.GATE), inner));
    NDArray up = weights.linear(names.of(layer, Parameter.UP), inner);
    return y.add(weights.linear(names.of(layer, Parameter.DOWN), gate.mul(up)));
  }

  private NDArray linear(int layer, Parameter weight, Parameter bias, NDArray x) {
    return weights.linear(names.of(layer, weight), names.of(layer, bias), x);
  }

  @Override
  public NDArray norm(NDArray rows) {
    return rmsNorm(rows, names.norm());
  }

  private NDArray rmsNorm(NDArray x, String name) {
    return Ops.rmsNorm(x, weights.parameter(name), sizes.eps());
  }

  @Override
  public NDArray logits(NDArray rows) {
    NDArray normed = norm(rows);
    NDArray logits =
        tied
            ? Ops.linear(normed, weights.parameter(names.embedding()), null)
            : weights.linear(names.head(), normed);
    return EngineArrays.cast(logits, DataType.FLOAT32);
  }

  @Override
  public Optional<NativeBlock> nativeBlock(int layer) {
    if (names.inBlock().containsKey(Parameter.QUERY_BIAS)
        || names.inBlock().containsKey(Parameter.OUT_BIAS)) {
      return Optional.empty();
    }
    Sizes own =
        new Sizes(
            Kind.LLAMA,
            sizes.width(),
            sizes.heads(),
            sizes.kvHeads(),
            sizes.headDim(),
            sizes.mlp(),
            (float) sizes.eps());
    return Optional.of(new NativeBlock(own, names.block(layer)));
  }
}
