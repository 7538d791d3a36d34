package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.Shape;
import ai.djl.ndarray.types.SparseFormat;
import ai.djl.nn.Activation;
import ai.djl.nn.core.Embedding;
import ai.djl.nn.core.Linear;
import ai.djl.nn.norm.LayerNorm;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.function.Supplier;

/**
 * Differentiable building blocks on engine arrays, all of the model's compute type unless said
 * otherwise.
 */
public final class Ops {
  private Ops() {}

  /**
   * Runs the body and closes every array it made on this thread except its result, which must be a
   * new array. Autograd keeps what it needs by itself, so this bounds memory inside a gradient
   * collector too.
   */
  public static NDArray scoped(Supplier<NDArray> body) {
    NDArray out;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      out = body.get();
      NDScope.unregister(out);
    }
    NDScope.register(out);
    return out;
  }

  /** x [..., in] times weight [out, in] transposed, plus bias [out] if not null. */
  public static NDArray linear(NDArray x, NDArray weight, NDArray bias) {
    return bias == null
        ? Linear.linear(x, weight).singletonOrThrow()
        : Linear.linear(x, weight, bias).singletonOrThrow();
  }

  /**
   * Rows of table [n, d] at the indexes -> [count, d]; the gradient adds up where an index repeats.
   */
  public static NDArray rows(NDManager manager, NDArray table, long[] indexes) {
    return Embedding.embedding(EngineArrays.of(manager, indexes), table, SparseFormat.DENSE)
        .singletonOrThrow();
  }

  /** Layer normalization over the last axis with weight and bias [d]. */
  public static NDArray layerNorm(NDArray x, NDArray weight, NDArray bias, double eps) {
    Shape last = new Shape(x.getShape().get(x.getShape().dimension() - 1));
    return LayerNorm.layerNorm(x, last, weight, bias, (float) eps).singletonOrThrow();
  }

  /** x / sqrt(mean(x^2) + eps) * weight over the last axis. */
  public static NDArray rmsNorm(NDArray x, NDArray weight, double eps) {
    return EngineArrays.rmsNorm(x, weight, (float) eps);
  }

  /** x * sigmoid(1.702 x), CLIP's activation. */
  public static NDArray quickGelu(NDArray x) {
    return x.mul(Activation.sigmoid(EngineArrays.scale(x, 1.702f)));
  }

  /** x * sigmoid(x). */
  public static NDArray silu(NDArray x) {
    return EngineArrays.silu(x);
  }

  /**
   * Rotates halves: x [B, H, S, d], cos and sin [B, 1, S, d] (both halves equal) -> x cos + (-x2,
   * x1) sin, after RoFormer in the half-split layout of LLaMA.
   */
  public static NDArray rotate(NDArray x, NDArray cos, NDArray sin) {
    long half = x.getShape().get(3) / 2;
    NDArray first = x.get("..., :{}", half);
    NDArray second = x.get("..., {}:", half);
    NDArray rotated = NDArrays.concat(new ai.djl.ndarray.NDList(second.neg(), first), -1);
    return x.mul(cos).add(rotated.mul(sin));
  }

  /**
   * Attention.
   *
   * @param q [B, H, Sq, d], already rotated
   * @param k [B, KV, Sk, d]
   * @param v [B, KV, Sk, d]
   * @param mask additive, [B or 1, 1, Sq, Sk]; null for none
   * @return [B, Sq, H * d]
   */
  public static NDArray attention(NDArray q, NDArray k, NDArray v, NDArray mask) {
    Shape shape = q.getShape();
    return EngineArrays.attention(q, k, v, mask)
        .transpose(0, 2, 1, 3)
        .reshape(shape.get(0), shape.get(2), shape.get(1) * shape.get(3));
  }

  /** [B, S, H * d] -> [B, H, S, d]. */
  public static NDArray heads(NDArray x, long heads) {
    Shape shape = x.getShape();
    return x.reshape(shape.get(0), shape.get(1), heads, shape.get(2) / heads).transpose(0, 2, 1, 3);
  }
}
