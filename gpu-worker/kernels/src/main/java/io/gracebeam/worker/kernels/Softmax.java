package io.gracebeam.worker.kernels;

/** Log-domain helpers in double precision. */
final class Softmax {
  private Softmax() {}

  /**
   * ln of the sum of exp(z[base + v] / t) over v in [0, n) except {@code skip}; minus infinity for
   * an empty sum.
   */
  static double logSumExpWithout(float[] z, int base, int n, int skip, double t) {
    float max = Float.NEGATIVE_INFINITY;
    for (int v = 0; v < n; v++) {
      if (v != skip && z[base + v] > max) {
        max = z[base + v];
      }
    }
    if (max == Float.NEGATIVE_INFINITY) {
      return Double.NEGATIVE_INFINITY;
    }
    double sum = 0;
    double inv = 1 / t;
    for (int v = 0; v < n; v++) {
      if (v != skip) {
        sum += Math.exp(((double) z[base + v] - max) * inv);
      }
    }
    return max * inv + Math.log(sum);
  }

  /** ln(exp(a) + exp(b)). */
  static double logAdd(double a, double b) {
    double hi = Math.max(a, b);
    double lo = Math.min(a, b);
    return lo == Double.NEGATIVE_INFINITY ? hi : hi + Math.log1p(Math.exp(lo - hi));
  }

  /** q (ln q - ln p), 0 at q = 0. */
  static double term(double q, double logQ, double logP) {
    return q == 0 ? 0 : q * (logQ - logP);
  }
}
