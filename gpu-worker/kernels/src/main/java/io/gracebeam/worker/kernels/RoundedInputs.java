package io.gracebeam.worker.kernels;

/**
 * Inputs of a product with a packed weight, rounded to 16-bit integers. Each run of {@link
 * PackedWeight#run} consecutive inputs has a scale of its own, absmax / 32639 (127 * 256 + 127:
 * what two signed bytes can hold, one of them worth 256), so that products with the weight's codes
 * and their sums over a run are exact integers: the same on any processor, in any order.
 *
 * @param codes [m, cols]
 * @param scales [m, cols / run]; 0 for a run whose step is no normal number
 * @param runs runs of a row
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
record RoundedInputs(short[] codes, float[] scales, int runs) {
  private static final float LIMIT = 32639f;

  /** Rounds finite x [m, cols]; ties go to the even integer. */
  static RoundedInputs of(float[] x, int m, int cols, int run) {
    short[] codes = new short[m * cols];
    float[] scales = new float[m * (cols / run)];
    for (int i = 0; i < scales.length; i++) {
      int from = i * run;
      float absmax = 0;
      for (int c = from; c < from + run; c++) {
        absmax = Math.max(absmax, Math.abs(x[c]));
      }
      float step = absmax / LIMIT;
      if (step >= Float.MIN_NORMAL) {
        scales[i] = step;
        float inverse = LIMIT / absmax;
        for (int c = from; c < from + run; c++) {
          codes[c] = (short) Math.rint(x[c] * inverse);
        }
      }
    }
    return new RoundedInputs(codes, scales, cols / run);
  }

  /** The codes' parts that are worth 256 (high) or 1 (low), both in [-128, 127]. */
  float[] part(boolean high) {
    float[] out = new float[codes.length];
    for (int i = 0; i < out.length; i++) {
      byte low = (byte) codes[i];
      out[i] = high ? (codes[i] - low) >> 8 : low;
    }
    return out;
  }
}
