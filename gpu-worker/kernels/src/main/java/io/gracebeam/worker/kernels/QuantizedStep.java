package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The optimizer step of a weight whose quantized form is what the model computes with: gradient of
 * the scales first (the norm of all gradients decides how much they are clipped), then one pass
 * that applies the straight-through mask, AdamW, and the new scales.
 */
public final class QuantizedStep {
  private static final String WHERE = "QuantizedStep";

  private QuantizedStep() {}

  /**
   * Gradient of the scales as in {@link LsqGradient}, from the gradient g by the quantized weight;
   * g stays as it is.
   *
   * @param scales exp(theta), see {@link LogScaleQuantizer#scales}
   * @param g float32 numbers, on the heap or in native memory
   * @param dTheta gradient by the log scales, overwritten
   * @return sum of squares of the straight-through gradient of w; not finite if some g is not
   */
  public static double gradient(
      float[] w,
      float[] scales,
      MemorySegment g,
      int rows,
      int cols,
      QuantSpec spec,
      float[] dTheta) {
    int n = check(w, scales, rows, cols, spec);
    Checks.floats(WHERE, "g", g, n);
    Checks.length(WHERE, "dTheta", dTheta.length, scales.length);
    return KernelProvider.best().quantizerGradient(w, scales, g, rows, cols, spec, dTheta);
  }

  /**
   * Masks g with the scales before, takes an AdamW step of w, and writes w quantized with the
   * scales after it.
   *
   * @param g finite gradient by the quantized weight, float32
   * @param out new quantized weight; as float32 it may be g
   */
  public static void step(
      AdamW.Settings settings,
      float[] w,
      MemorySegment g,
      float[] m,
      float[] v,
      float[] before,
      float[] after,
      int rows,
      int cols,
      QuantSpec spec,
      WeightCopy out) {
    int n = check(w, before, rows, cols, spec);
    check(w, after, rows, cols, spec);
    Checks.floats(WHERE, "g", g, n);
    Checks.length(WHERE, "m", m.length, n);
    Checks.length(WHERE, "v", v.length, n);
    out.check(WHERE, n);
    KernelProvider.best().quantizedStep(settings, w, g, m, v, before, after, rows, cols, spec, out);
  }

  private static int check(float[] w, float[] scales, int rows, int cols, QuantSpec spec) {
    Checks.length(WHERE, "scales", scales.length, spec.groups(rows, cols));
    int n = rows * cols;
    Checks.length(WHERE, "w", w.length, n);
    Checks.positive(WHERE, "scales", scales);
    return n;
  }

  static double gradientInJava(
      float[] w, float[] s, MemorySegment gradient, QuantSpec spec, float[] dTheta) {
    float[] g = gradient.toArray(ValueLayout.JAVA_FLOAT);
    double[] ds = new double[s.length];
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
    for (int k = 0; k < s.length; k++) {
      dTheta[k] = (float) (s[k] * ds[k]);
    }
    return squares;
  }

  static void stepInJava(
      Kernels kernels,
      AdamW.Settings s,
      float[] w,
      MemorySegment g,
      float[] m,
      float[] v,
      float[] before,
      float[] after,
      QuantSpec spec,
      WeightCopy out) {
    int group = spec.groupSize();
    float[] masked = g.toArray(ValueLayout.JAVA_FLOAT);
    Parallel.elements(
        w.length,
        i -> {
          if (!passes((float) Math.rint(w[i] / before[i / group]), spec)) {
            masked[i] = 0f;
          }
        });
    kernels.adamW(
        w, masked, m, v, s.lr(), s.b1(), s.b2(), s.eps(), s.decay(), s.t(), s.gradScale());
    Parallel.elements(
        w.length,
        i -> {
          float scale = after[i / group];
          out.set(i, (LogScaleQuantizer.code(w[i], scale, -spec.qn(), spec.qp()) + 0f) * scale);
        });
  }

  private static boolean passes(float rounded, QuantSpec spec) {
    return rounded >= -spec.qn() && rounded <= spec.qp();
  }
}
