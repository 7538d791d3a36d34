package io.gracebeam.worker.kernels;

/**
 * Backward pass of the log-scale quantizer with the straight-through estimator. With r = rint(w /
 * s) and the mask 1[-qn <= r <= qp]: dW = dW^ * mask, ds = sum over the group of dW^ * (q - (w / s)
 * * mask), dTheta = s * ds.
 */
public final class LsqGradient {
  private LsqGradient() {}

  /**
   * Overwrites {@code dW [rows, cols]} and {@code dTheta [groups]}; dW may be dWhat itself.
   *
   * @param dWhat gradient by the quantized weight, [rows, cols]
   */
  public static void apply(
      float[] w,
      float[] theta,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      float[] dW,
      float[] dTheta) {
    KernelProvider.best().lsqGradient(w, theta, dWhat, rows, cols, spec, 1.0, dW, dTheta);
  }

  /**
   * As {@link #apply} without factor, with dTheta multiplied by {@code thetaFactor}, for example
   * {@link #factor}.
   */
  public static void apply(
      float[] w,
      float[] theta,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    KernelProvider.best().lsqGradient(w, theta, dWhat, rows, cols, spec, thetaFactor, dW, dTheta);
  }

  /** The LSQ normalization 1 / sqrt(groupSize * qp). */
  public static double factor(QuantSpec spec) {
    return 1.0 / Math.sqrt((double) spec.groupSize() * spec.qp());
  }

  static void check(
      String where,
      float[] w,
      float[] theta,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    int n = spec.check(where, w, theta, rows, cols);
    Checks.length(where, "dWhat", dWhat.length, n);
    Checks.length(where, "dW", dW.length, n);
    Checks.length(where, "dTheta", dTheta.length, theta.length);
    Checks.finite(where, "dWhat", dWhat, 0, n);
    Checks.finite(where, "thetaFactor", thetaFactor);
  }
}
