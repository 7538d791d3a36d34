package io.gracebeam.worker.kernels;

import java.util.function.IntConsumer;

/**
 * The optimiser step of a weight whose quantised form is what the model computes with: gradient of
 * the scales first (the norm of all gradients decides how much they are clipped), then one pass
 * that applies the straight-through mask, AdamW, and the new scales.
 */
public final class QuantizedStep {
  private static final String WHERE = "QuantizedStep";
  private static final int BLOCK = 1 << 14;

  private QuantizedStep() {}

  /**
   * Gradient of the scales as in {@link LsqGradient}, from the gradient g by the quantised weight;
   * g stays as it is.
   *
   * @param scales exp(theta), see {@link LogScaleQuantizer#scales}
   * @param dTheta gradient by the log scales, overwritten
   * @return sum of squares of the straight-through gradient of w; not finite if some g is not
   */
  public static double gradient(
      float[] w, float[] scales, float[] g, int rows, int cols, QuantSpec spec, float[] dTheta) {
    int n = check(w, scales, rows, cols, spec);
    Checks.length(WHERE, "g", g.length, n);
    Checks.length(WHERE, "dTheta", dTheta.length, scales.length);
    double[] ds = new double[scales.length];
    double out = KernelProvider.best().quantizerGradient(w, scales, g, rows, cols, spec, ds);
    for (int k = 0; k < ds.length; k++) {
      dTheta[k] = (float) (scales[k] * ds[k]);
    }
    return out;
  }

  /**
   * Masks g with the scales before, takes an AdamW step of w, and writes w quantised with the
   * scales after it.
   *
   * @param g finite gradient by the quantised weight
   * @param out new quantised weight; may be g
   */
  public static void step(
      AdamW.Settings settings,
      float[] w,
      float[] g,
      float[] m,
      float[] v,
      float[] before,
      float[] after,
      int rows,
      int cols,
      QuantSpec spec,
      float[] out) {
    int n = check(w, before, rows, cols, spec);
    check(w, after, rows, cols, spec);
    Checks.length(WHERE, "g", g.length, n);
    Checks.length(WHERE, "m", m.length, n);
    Checks.length(WHERE, "v", v.length, n);
    Checks.length(WHERE, "out", out.length, n);
    KernelProvider.best().quantizedStep(settings, w, g, m, v, before, after, rows, cols, spec, out);
  }

  private static int check(float[] w, float[] scales, int rows, int cols, QuantSpec spec) {
    Checks.length(WHERE, "scales", scales.length, spec.groups(rows, cols));
    int n = rows * cols;
    Checks.length(WHERE, "w", w.length, n);
    for (int i = 0; i < scales.length; i++) {
      if (!(scales[i] > 0f) || !Float.isFinite(scales[i])) {
        throw Checks.error(
            WHERE, "scales[%d] is %s, allowed are finite positive numbers", i, scales[i]);
      }
    }
    return n;
  }

  static double gradientInJava(float[] w, float[] s, float[] g, QuantSpec spec, double[] ds) {
    double squares = 0;
    for (int i = 0; i < w.length; i++) {
      int k = i / spec.groupSize();
      float u = w[i] / s[k];
      float r = (float) Math.rint(u);
      boolean in = passes(r, spec);
      float q = Math.max(-spec.qn(), Math.min(spec.qp(), r));
      ds[k] += (double) g[i] * (in ? q - u : q);
      squares += in ? (double) g[i] * g[i] : g[i] * 0f;
    }
    return squares;
  }

  static void stepInJava(
      Kernels kernels,
      AdamW.Settings s,
      float[] w,
      float[] g,
      float[] m,
      float[] v,
      float[] before,
      float[] after,
      QuantSpec spec,
      float[] out) {
    int group = spec.groupSize();
    float[] masked = new float[g.length];
    inBlocks(
        w.length,
        i -> masked[i] = passes((float) Math.rint(w[i] / before[i / group]), spec) ? g[i] : 0f);
    kernels.adamW(
        w, masked, m, v, s.lr(), s.b1(), s.b2(), s.eps(), s.decay(), s.t(), s.gradScale());
    inBlocks(
        w.length,
        i -> {
          float scale = after[i / group];
          out[i] = (LogScaleQuantizer.code(w[i], scale, -spec.qn(), spec.qp()) + 0f) * scale;
        });
  }

  private static void inBlocks(int n, IntConsumer element) {
    Parallel.run(
        Parallel.shared(),
        n > BLOCK,
        n / BLOCK + (n % BLOCK == 0 ? 0 : 1),
        b -> {
          int from = b * BLOCK;
          int to = n - from < BLOCK ? n : from + BLOCK;
          for (int i = from; i < to; i++) {
            element.accept(i);
          }
        });
  }

  private static boolean passes(float rounded, QuantSpec spec) {
    return rounded >= -spec.qn() && rounded <= spec.qp();
  }
}
