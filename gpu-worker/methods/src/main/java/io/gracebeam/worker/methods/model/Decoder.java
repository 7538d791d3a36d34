package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.function.BiFunction;
import java.util.function.Function;

/** LLaMA's decoder blocks: RMSNorm, rotary positions (half-split), grouped queries, SwiGLU. */
final class Decoder {
  static final String MODEL = "language_model.model.";
  static final String EMBEDDING = MODEL + "embed_tokens.weight";
  static final String HEAD = "language_model.lm_head.weight";
  static final float MASKED = -1e30f;

  private final LlavaConfig config;
  private final NDManager manager;
  private final DataType compute;
  private final Function<String, NDArray> parameter;
  private final BiFunction<String, NDArray, NDArray> linear;
  private final Function<long[], NDArray> embeddings;

  Decoder(
      LlavaConfig config,
      NDManager manager,
      DataType compute,
      Function<String, NDArray> parameter,
      BiFunction<String, NDArray, NDArray> linear,
      Function<long[], NDArray> embeddings) {
    this.config = config;
    this.manager = manager;
    this.compute = compute;
    this.parameter = parameter;
    this.linear = linear;
    this.embeddings = embeddings;
  }

  /** Cosines and sines [B, 1, S, d] each. */
  record Rotary(NDArray cos, NDArray sin) {}

  /** theta^(-2 i / headDim) for i below headDim / 2. */
  float[] inverseFrequencies() {
    int dim = config.text().headDim();
    float[] inverse = new float[dim / 2];
    for (int i = 0; i < inverse.length; i++) {
      inverse[i] = (float) (1.0 / Math.pow(config.text().ropeTheta(), 2.0 * i / dim));
    }
    return inverse;
  }

  /** Embeddings of tokens [count] -> [count, width]. */
  NDArray embeddings(long[] tokens) {
    return embeddings.apply(tokens);
  }

  /** Tables for the positions [B][S]; one row serves a whole batch. */
  Rotary rotary(int[][] positions) {
    int dim = config.text().headDim();
    float[] inverse = inverseFrequencies();
    int half = inverse.length;
    int length = positions[0].length;
    float[] cos = new float[positions.length * length * dim];
    float[] sin = new float[cos.length];
    int at = 0;
    for (int[] row : positions) {
      for (int position : row) {
        for (int i = 0; i < dim; i++) {
          float angle = position * inverse[i % half];
          cos[at] = (float) Math.cos(angle);
          sin[at++] = (float) Math.sin(angle);
        }
      }
    }
    Shape shape = new Shape(positions.length, 1, length, dim);
    return new Rotary(
        EngineArrays.of(manager, cos, shape, compute),
        EngineArrays.of(manager, sin, shape, compute));
  }

  /**
   * Additive causal mask [1, 1, S, S]; right padding needs no more, since no real position sees
   * what is behind it.
   */
  NDArray causalMask(int length) {
    float[] mask = new float[length * length];
    for (int i = 0; i < length; i++) {
      for (int j = i + 1; j < length; j++) {
        mask[i * length + j] = MASKED;
      }
    }
    return EngineArrays.of(manager, mask, new Shape(1, 1, length, length), compute);
  }

  /**
   * One block.
   *
   * @param x [B, S, d]
   * @param cache keys and values of earlier positions; new ones are appended; null for none
   */
  NDArray block(NDArray x, int layer, Rotary rotary, NDArray mask, KvCache cache) {
    String name = MODEL + "layers." + layer + ".";
    LlavaConfig.Text t = config.text();
    NDArray normed = Ops.rmsNorm(x, parameter.apply(name + "input_layernorm.weight"), t.eps());
    NDArray q = Ops.heads(linear.apply(name + "self_attn.q_proj.weight", normed), t.heads());
    NDArray k = Ops.heads(linear.apply(name + "self_attn.k_proj.weight", normed), t.kvHeads());
    NDArray v = Ops.heads(linear.apply(name + "self_attn.v_proj.weight", normed), t.kvHeads());
    q = Ops.rotate(q, rotary.cos(), rotary.sin());
    k = Ops.rotate(k, rotary.cos(), rotary.sin());
    if (cache != null) {
      k = cache.appendKeys(layer, k);
      v = cache.appendValues(layer, v);
    }
    NDArray mixed = Ops.attention(q, k, v, mask);
    NDArray y = x.add(linear.apply(name + "self_attn.o_proj.weight", mixed));
    NDArray inner =
        Ops.rmsNorm(y, parameter.apply(name + "post_attention_layernorm.weight"), t.eps());
    NDArray gate = Ops.silu(linear.apply(name + "mlp.gate_proj.weight", inner));
    NDArray up = linear.apply(name + "mlp.up_proj.weight", inner);
    return y.add(linear.apply(name + "mlp.down_proj.weight", gate.mul(up)));
  }

  /** Final norm of rows [R, d]. */
  NDArray norm(NDArray rows) {
    return Ops.rmsNorm(rows, parameter.apply(MODEL + "norm.weight"), config.text().eps());
  }

  /** Final norm and head over rows [R, d] -> [R, vocab], in float32. */
  NDArray head(NDArray rows) {
    NDArray normed = norm(rows);
    NDArray logits =
        config.tied()
            ? Ops.linear(normed, parameter.apply(EMBEDDING), null)
            : linear.apply(HEAD, normed);
    return EngineArrays.cast(logits, DataType.FLOAT32);
  }

  /**
   * Token embeddings of ids [B][S], with the visual rows [B * n, d] in the places of the image
   * token -> [B, S, d].
   */
  NDArray embed(long[][] ids, NDArray visual) {
    int length = ids[0].length;
    long[] tokens = new long[ids.length * length];
    long[] source = new long[tokens.length];
    long nextVisual = tokens.length;
    for (int i = 0; i < tokens.length; i++) {
      tokens[i] = ids[i / length][i % length];
      source[i] = tokens[i] == config.imageToken() && visual != null ? nextVisual++ : i;
    }
    NDArray rows = embeddings(tokens);
    if (visual != null) {
      rows = Ops.rows(manager, NDArrays.concat(new NDList(rows, visual), 0), source);
    }
    return rows.reshape(ids.length, length, config.text().width());
  }
}
