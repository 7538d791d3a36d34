package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;

/** Fused, differentiable operators for which DJL has no method. */
public final class LibTorchOperators {
  private static final Aten RMS_NORM = Aten.of("rms_norm");

  private static final Aten ATTENTION = Aten.of("scaled_dot_product_attention");

  private LibTorchOperators() {}

  /** Without matrix instructions, bfloat16 attention on a CPU is slower than float32's. */
  private static final boolean WIDE = !Processor.here().instructions().contains("AMX");

  /**
   * softmax(q k^T / sqrt(d) + mask) v, block by block.
   *
   * @param q [B, H, Sq, d]
   * @param k [B, KV, Sk, d], KV a divisor of H
   * @param v as k
   * @param mask [B or 1, 1, Sq, Sk], added to the scores; null for none
   * @return [B, H, Sq, d]
   */
  public static NDArray attention(LibTorchArray q, NDArray k, NDArray v, NDArray mask) {
    if (WIDE && q.getDataType() == DataType.BFLOAT16 && !q.getDevice().isGpu()) {
      return attention(wide(q), wide(k), wide(v), mask == null ? null : wide(mask))
          .toType(DataType.BFLOAT16, false);
    }
    boolean grouped = q.getShape().get(1) != k.getShape().get(1);
    return ATTENTION
        .call()
        .tensor(q)
        .tensor(LibTorchArray.of(k))
        .tensor(LibTorchArray.of(v))
        .optional(mask == null ? null : LibTorchArray.of(mask))
        .real(0)
        .flag(false)
        .none()
        .flag(grouped)
        .array(q.manager());
  }

  private static LibTorchArray wide(NDArray x) {
    return LibTorchArray.of(x).toType(DataType.FLOAT32, false);
  }

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
}
