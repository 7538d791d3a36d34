package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * Backward pass of the log-scale quantizer with the straight-through estimator. With r = rint(w /
 * s) and the mask 1[-qn <= r <= qp]: dW = dW^ * mask, ds = sum over the group of dW^ * (q - (w / s)
 * * mask), dTheta = s * ds.
 */
public final class LsqGradient {
  private static final String WHERE = "LsqGradient";

  private LsqGradient() {}

  /**
   * Overwrites {@code dW [rows, cols]} and {@code dTheta [groups]}; dW may be dWhat itself.
   *
   * @param theta log scales [groups]
   * @param dWhat gradient with respect to the quantized weight, [rows, cols]
   * @param thetaFactor what dTheta is multiplied with: 1, or for example {@link #factor}
   */
  public static void apply(
      LatentWeight w,
      float[] theta,
      float[] dWhat,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    apply(KernelProvider.best(), w, theta, dWhat, thetaFactor, dW, dTheta);
  }

  static void apply(
      Kernels kernels,
      LatentWeight w,
      float[] theta,
      float[] dWhat,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    int n = w.spec().check(WHERE, w.values(), theta, w.rows(), w.cols());
    Checks.length(WHERE, "dWhat", dWhat.length, n);
    Checks.length(WHERE, "dW", dW.length, n);
    Checks.length(WHERE, "dTheta", dTheta.length, theta.length);
    Checks.finite(WHERE, "dWhat", dWhat, 0, n);
    Checks.finite(WHERE, "thetaFactor", thetaFactor);
    float[] scales = new float[theta.length];
    kernels.quantizer().scales(theta, scales);
    MemorySegment g = MemorySegment.ofArray(dWhat);
    kernels.training().gradient(w, scales, g, thetaFactor, dW, dTheta);
  }

  /** The LSQ normalization 1 / sqrt(groupSize * qp). */
  public static double factor(QuantSpec spec) {
    return 1.0 / Math.sqrt((double) spec.groupSize() * spec.qp());
  }
}
