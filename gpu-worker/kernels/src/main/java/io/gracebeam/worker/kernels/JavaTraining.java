package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** What the training kernels in Java share; they copy gradients from native memory. */
abstract class JavaTraining implements TrainingKernels {
  /** A step of AdamW on arrays of one length. */
  abstract void adamW(AdamW.Settings settings, float[] p, float[] g, Moments moments);

  @Override
  public final void adamW(
      AdamW.Settings settings, float[] p, MemorySegment g, Moments moments, WeightCopy out) {
    adamW(settings, p, g.toArray(ValueLayout.JAVA_FLOAT), moments);
    if (out != null) {
      Parallel.elements(p.length, i -> out.set(i, p[i]));
    }
  }

  @Override
  public final void quantizedStep(
      AdamW.Settings settings,
      LatentWeight weight,
      MemorySegment g,
      Moments moments,
      ScaleStep scales,
      WeightCopy out) {
    float[] w = weight.values();
    QuantSpec spec = weight.spec();
    int group = spec.groupSize();
    float[] masked = g.toArray(ValueLayout.JAVA_FLOAT);
    Parallel.elements(
        w.length,
        i -> {
          if (!passes((float) Math.rint(w[i] / scales.before()[i / group]), spec)) {
            masked[i] = 0f;
          }
        });
    adamW(settings, w, masked, moments);
    Parallel.elements(
        w.length,
        i -> {
          float scale = scales.after()[i / group];
          out.set(i, (LogScaleQuantizer.code(w[i], scale, -spec.qn(), spec.qp()) + 0f) * scale);
        });
  }

  /** Whether the straight-through mask is 1 at a rounded weight. */
  static boolean passes(float rounded, QuantSpec spec) {
    return rounded >= -spec.qn() && rounded <= spec.qp();
  }

  @Override
  public final double squares(MemorySegment v) {
    double out = 0;
    for (float x : v.toArray(ValueLayout.JAVA_FLOAT)) {
      out += (double) x * x;
    }
    return out;
  }
}
