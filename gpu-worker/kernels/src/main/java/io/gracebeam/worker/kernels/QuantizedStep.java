package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * The optimizer step of a weight whose quantized form is what the model computes with: gradient of
 * the scales first (the norm of all gradients decides how much they are clipped), then one pass
 * that applies the straight-through mask, AdamW, and the new scales.
 */
public final class QuantizedStep {
  private static final String WHERE = "QuantizedStep";

  private QuantizedStep() {}

  /**
   * Gradient with respect to the log scales as in {@link LsqGradient}; g stays as it is.
   *
   * @param scales exp(theta), see {@link LogScaleQuantizer#scales}
   * @param g gradient with respect to the quantized weight: float32 numbers, on the heap or in
   *     native memory
   * @param dTheta gradient with respect to the log scales, overwritten
   * @return sum of squares of the straight-through gradient of w; not finite if some g is not
   */
  public static double gradient(LatentWeight w, float[] scales, MemorySegment g, float[] dTheta) {
    check(w, scales);
    Checks.floats(WHERE, "g", g, w.values().length);
    Checks.length(WHERE, "dTheta", dTheta.length, scales.length);
    return KernelProvider.best().training().gradient(w, scales, g, 1, null, dTheta);
  }

  /**
   * Masks g with the scales before, takes an AdamW step of w, and writes w quantized with the
   * scales after it.
   *
   * @param g finite gradient with respect to the quantized weight, float32
   * @param out new quantized weight; as float32 it may be g
   */
  public static void step(
      AdamW.Settings settings,
      LatentWeight w,
      MemorySegment g,
      Moments moments,
      ScaleStep scales,
      WeightCopy out) {
    int n = w.values().length;
    check(w, scales.before());
    check(w, scales.after());
    Checks.floats(WHERE, "g", g, n);
    moments.check(WHERE, n);
    out.check(WHERE, n);
    KernelProvider.best().training().quantizedStep(settings, w, g, moments, scales, out);
  }

  private static void check(LatentWeight w, float[] scales) {
    Checks.length(WHERE, "scales", scales.length, w.groups());
    Checks.positive(WHERE, "scales", scales);
  }
}
