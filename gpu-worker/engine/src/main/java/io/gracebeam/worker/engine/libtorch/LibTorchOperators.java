package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;

/** Fused, differentiable operators for which DJL has no method. */
public final class LibTorchOperators {
  private static final Aten RMS_NORM = Aten.of("rms_norm");
  private static final Aten ATTENTION = Aten.of("scaled_dot_product_attention");

  private LibTorchOperators() {}

  /**
   * x / sqrt(mean(x^2) + eps) * weight.
   *
   * @param x [..., d]
   * @param weight [d]
   */
  public static NDArray rmsNorm(LibTorchArray x, NDArray weight, double eps) {
    return RMS_NORM
        .call()
        .tensor(x)
        .integers(weight.getShape().getShape())
        .optional(LibTorchArray.of(weight))
        .optionalReal(eps)
        .array(x.manager());
  }

  /**
   * softmax(q k^T / sqrt(d)) v.
   *
   * @param q [B, H, Sq, d]
   * @param k [B, KV, Sk, d], KV a divisor of H
   * @param v [B, KV, Sk, d]
   * @param mask added to the scores, [B or 1, 1 or H, Sq, Sk]; null for none
   * @param causal whether a query sees only keys up to its own position
   * @return [B, H, Sq, d]
   */
  public static NDArray attention(
      LibTorchArray q, NDArray k, NDArray v, NDArray mask, boolean causal) {
    return ATTENTION
        .call()
        .tensor(q)
        .tensor(LibTorchArray.of(k))
        .tensor(LibTorchArray.of(v))
        .optional(mask == null ? null : LibTorchArray.of(mask))
        .real(0)
        .flag(causal)
        .none()
        .flag(!q.getShape().slice(1, 2).equals(k.getShape().slice(1, 2)))
        .array(q.manager());
  }
}
