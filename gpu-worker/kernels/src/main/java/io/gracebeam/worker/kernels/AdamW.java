package io.gracebeam.worker.kernels;

/**
 * AdamW with decoupled weight decay and bias correction (Loshchilov and Hutter, arXiv 1711.05101).
 */
public final class AdamW {
  private AdamW() {}

  /**
   * One step in place: p -= lr decay p; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr /
   * (1-b1^t) * m / (sqrt(v / (1-b2^t)) + eps), with g multiplied by gradScale. All arrays have p's
   * length.
   *
   * @param t step number, from 1
   * @throws IllegalArgumentException before anything is written, on unequal lengths, a gradient
   *     that is not finite, or a hyper-parameter out of range
   */
  public static void step(
      float[] p,
      float[] g,
      float[] m,
      float[] v,
      double lr,
      double b1,
      double b2,
      double eps,
      double decay,
      int t,
      float gradScale) {
    KernelProvider.best().adamW(p, g, m, v, lr, b1, b2, eps, decay, t, gradScale);
  }

  static void check(
      float[] p,
      float[] g,
      float[] m,
      float[] v,
      double lr,
      double b1,
      double b2,
      double eps,
      double decay,
      int t,
      float gradScale) {
    String where = "AdamW.step";
    Checks.length(where, "g", g.length, p.length);
    Checks.length(where, "m", m.length, p.length);
    Checks.length(where, "v", v.length, p.length);
    Checks.positive(where, "t", t);
    if (!(lr >= 0 && lr <= 1e6)) {
      throw Checks.error(where, "lr is %s, allowed are 0 to 1e6", lr);
    }
    if (!(b1 >= 0 && b1 < 1) || !(b2 >= 0 && b2 < 1)) {
      throw Checks.error(where, "betas are %s and %s, allowed are 0 to below 1", b1, b2);
    }
    if (!(eps > 0 && eps < 1) || !(decay >= 0 && decay < 1e6)) {
      throw Checks.error(
          where, "eps is %s and decay %s, allowed are 0 < eps < 1 and decay >= 0", eps, decay);
    }
    Checks.finite(where, "gradScale", gradScale);
    Checks.finite(where, "g", g, 0, g.length);
  }
}
