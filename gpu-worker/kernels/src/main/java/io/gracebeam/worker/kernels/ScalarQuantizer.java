package io.gracebeam.worker.kernels;

/** The quantizer as plain loops in Java. */
final class ScalarQuantizer implements QuantizerKernels {
  private static final int LARGE = 1 << 14;

  @Override
  public void scales(float[] theta, float[] scales) {
    Parallel.elements(
        theta.length, i -> scales[i] = LogScaleQuantizer.clamp((float) StrictMath.exp(theta[i])));
  }

  @Override
  public void searchScales(LatentWeight w, float[] scales) {
    int g = w.spec().groupSize();
    Parallel.run(
        Parallel.shared(),
        w.values().length > LARGE,
        scales.length,
        i -> scales[i] = search(w.values(), i * g, g, w.spec()));
  }

  private static float search(float[] w, int from, int n, QuantSpec spec) {
    float max = LogScaleQuantizer.absmax(w, from, n);
    if (max == 0f) {
      return LogScaleQuantizer.MIN_SCALE;
    }
    double bestError = Double.POSITIVE_INFINITY;
    float best = LogScaleQuantizer.MIN_SCALE;
    for (int k = 0; k < LogScaleQuantizer.STEPS; k++) {
      float s = LogScaleQuantizer.clamp((float) (LogScaleQuantizer.ratio(k) * max / spec.qp()));
      double error = 0;
      for (int i = from; i < from + n; i++) {
        double d = w[i] - s * LogScaleQuantizer.code(w[i], s, -spec.qn(), spec.qp());
        error += d * d;
      }
      if (error < bestError) {
        bestError = error;
        best = s;
      }
    }
    return best;
  }

  @Override
  public void fakeQuantize(LatentWeight weight, float[] scales, float[] out) {
    float[] w = weight.values();
    QuantSpec spec = weight.spec();
    int g = spec.groupSize();
    for (int i = 0; i < w.length; i++) {
      float s = scales[i / g];
      // + 0f turns a negative zero code into zero
      out[i] = (LogScaleQuantizer.code(w[i], s, -spec.qn(), spec.qp()) + 0f) * s;
    }
  }

  @Override
  public int[] packedCodes(LatentWeight weight, float[] scales) {
    float[] w = weight.values();
    QuantSpec spec = weight.spec();
    byte[] codes = new byte[w.length];
    int g = spec.groupSize();
    for (int i = 0; i < w.length; i++) {
      codes[i] = (byte) LogScaleQuantizer.code(w[i], scales[i / g], -spec.qn(), spec.qp());
    }
    return Packing.pack(codes, weight.rows(), weight.cols(), spec.bits());
  }
}
