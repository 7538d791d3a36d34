package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;

/** Fused, differentiable operators for which DJL has no method. */
public final class LibTorchOperators {
  private static final Aten RMS_NORM = Aten.of("rms_norm");

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
}
