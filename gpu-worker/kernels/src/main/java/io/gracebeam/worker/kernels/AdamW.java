package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * AdamW with decoupled weight decay and bias correction (Loshchilov and Hutter, arXiv 1711.05101).
 */
public final class AdamW {
  private static final String WHERE = "AdamW.step";

  private AdamW() {}

  /**
   * One step in place: p -= lr decay p; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr /
   * (1-b1^t) * m / (sqrt(v / (1-b2^t)) + eps), with g multiplied by gradScale. All arrays have p's
   * length.
   *
   * @throws IllegalArgumentException before anything is written, on unequal lengths or a gradient
   *     that is not finite
   */
  public static void step(Settings settings, float[] p, float[] g, Moments moments) {
    step(KernelProvider.best(), settings, p, g, moments);
  }

  static void step(Kernels kernels, Settings settings, float[] p, float[] g, Moments moments) {
    Checks.length(WHERE, "g", g.length, p.length);
    moments.check(WHERE, p.length);
    Checks.finite(WHERE, "g", g, 0, g.length);
    kernels.training().adamW(settings, p, MemorySegment.ofArray(g), moments, null);
  }

  /**
   * One step with a gradient in any memory, which can also write the new p elsewhere.
   *
   * @param g finite gradient, which is not checked: float32 numbers on the heap or in native memory
   * @param out new p; null if it is not wanted
   * @throws IllegalArgumentException before anything is written, on unequal lengths
   */
  public static void step(
      Settings settings, float[] p, MemorySegment g, Moments moments, WeightCopy out) {
    Checks.floats(WHERE, "g", g, p.length);
    moments.check(WHERE, p.length);
    if (out != null) {
      out.check(WHERE, p.length);
    }
    KernelProvider.best().training().adamW(settings, p, g, moments, out);
  }

  /**
   * What a step multiplies with, in float32: keep = 1 - lr decay, rate = lr / (1 - b1^t), root = 1
   * / sqrt(1 - b2^t), rest1 = 1 - b1, rest2 = 1 - b2.
   */
  record Factors(
      float keep,
      float rate,
      float root,
      float b1,
      float b2,
      float rest1,
      float rest2,
      float eps,
      float gradScale) {}

  static Factors factors(Settings s) {
    return new Factors(
        (float) (1 - s.lr() * s.decay()),
        (float) (s.lr() / (1 - StrictMath.pow(s.b1(), s.t()))),
        (float) (1 / Math.sqrt(1 - StrictMath.pow(s.b2(), s.t()))),
        (float) s.b1(),
        (float) s.b2(),
        (float) (1 - s.b1()),
        (float) (1 - s.b2()),
        (float) s.eps(),
        s.gradScale());
  }

  /**
   * Settings of one step, see {@link #step}.
   *
   * @param lr learning rate, 0 to 1e6
   * @param t step number, from 1
   * @param gradScale what the gradient is multiplied with, for example to clip its norm
   */
  public record Settings(
      double lr, double b1, double b2, double eps, double decay, int t, float gradScale) {
    /** Validates. */
    public Settings {
      Checks.positive(WHERE, "t", t);
      if (!(lr >= 0 && lr <= 1e6)) {
        throw Checks.error(WHERE, "lr is %s, allowed are 0 to 1e6", lr);
      }
      if (!(b1 >= 0 && b1 < 1) || !(b2 >= 0 && b2 < 1)) {
        throw Checks.error(WHERE, "betas are %s and %s, allowed are 0 to below 1", b1, b2);
      }
      if (!(eps > 0 && eps < 1) || !(decay >= 0 && decay < 1e6)) {
        throw Checks.error(
            WHERE, "eps is %s and decay %s, allowed are 0 < eps < 1 and decay >= 0", eps, decay);
      }
      Checks.finite(WHERE, "gradScale", gradScale);
    }
  }
}
