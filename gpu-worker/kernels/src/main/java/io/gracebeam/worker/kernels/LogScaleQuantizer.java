package io.gracebeam.worker.kernels;

/**
 * Symmetric group-wise quantizer with log scales theta, s = exp(theta): q = clip(rint(w / s), -qn,
 * qp), w^ = s q. Float32 arithmetic, halves round to even. Weights are {@code [rows, cols]}
 * row-major; theta is {@code [groups]} in the order of the flattened weight. Scale initialization
 * as in GRACE (arXiv 2601.22709, section 3).
 */
public final class LogScaleQuantizer {
  /** Number of ratios that the scale search tries. */
  public static final int STEPS = 20;

  /** Smallest scale; also the scale of a group whose weights are all zero. */
  public static final float MIN_SCALE = 1e-8f;

  /** Largest scale. */
  public static final float MAX_SCALE = 1e4f;

  private static final double FIRST = 0.3;
  private static final double LAST = 1.2;

  private LogScaleQuantizer() {}

  /** Ratio number {@code index} (0 to 19) of the search grid: equally spaced from 0.3 to 1.2. */
  public static double ratio(int index) {
    if (index < 0 || index >= STEPS) {
      throw Checks.error(
          "LogScaleQuantizer.ratio", "index is %d, allowed are 0 to %d", index, STEPS - 1);
    }
    return FIRST + (LAST - FIRST) * index / (STEPS - 1);
  }

  /**
   * Log scales that minimize the squared reconstruction error over the grid {@code ratio * max|w| /
   * qp}; the lowest ratio wins a tie. An all-zero group gets ln({@link #MIN_SCALE}).
   *
   * @return theta {@code [groups]}
   */
  public static float[] searchLogScales(float[] w, int rows, int cols, QuantSpec spec) {
    spec.check("LogScaleQuantizer.searchLogScales", w, null, rows, cols);
    float[] scales = new float[spec.groups(rows, cols)];
    KernelProvider.best().quantizer().searchScales(new LatentWeight(w, rows, cols, spec), scales);
    return logarithms(scales);
  }

  private static float[] logarithms(float[] scales) {
    float[] theta = new float[scales.length];
    for (int i = 0; i < theta.length; i++) {
      theta[i] = (float) StrictMath.log(scales[i]);
    }
    return theta;
  }

  /**
   * Log scales of plain rounding to nearest, s = max|w| / qp. An all-zero group gets ln({@link
   * #MIN_SCALE}).
   */
  public static float[] absmaxLogScales(float[] w, int rows, int cols, QuantSpec spec) {
    spec.check("LogScaleQuantizer.absmaxLogScales", w, null, rows, cols);
    float[] theta = new float[spec.groups(rows, cols)];
    int g = spec.groupSize();
    for (int i = 0; i < theta.length; i++) {
      theta[i] = (float) StrictMath.log(clamp(absmax(w, i * g, g) / spec.qp()));
    }
    return theta;
  }

  /** Writes the integer codes {@code [rows, cols]} of w. */
  public static void quantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec, byte[] codes) {
    int n = spec.check("LogScaleQuantizer.quantize", w, theta, rows, cols);
    Checks.length("LogScaleQuantizer.quantize", "codes", codes.length, n);
    float[] s = scales(theta);
    int g = spec.groupSize();
    for (int i = 0; i < n; i++) {
      codes[i] = (byte) code(w[i], s[i / g], -spec.qn(), spec.qp());
    }
  }

  /** Writes w^ = s clip(rint(w / s)) to {@code out [rows, cols]}; out may be w itself. */
  public static void fakeQuantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec, float[] out) {
    fakeQuantize(KernelProvider.best(), new LatentWeight(w, rows, cols, spec), theta, out);
  }

  static void fakeQuantize(Kernels kernels, LatentWeight w, float[] theta, float[] out) {
    String where = "fakeQuantize";
    int n = w.spec().check(where, w.values(), theta, w.rows(), w.cols());
    Checks.length(where, "out", out.length, n);
    float[] scales = new float[theta.length];
    kernels.quantizer().scales(theta, scales);
    kernels.quantizer().fakeQuantize(w, scales, out);
  }

  /**
   * Scales s = exp(theta), kept within [{@link #MIN_SCALE}, {@link #MAX_SCALE}]; the same on every
   * machine.
   */
  public static float[] scales(float[] theta) {
    Checks.finite("LogScaleQuantizer.scales", "theta", theta, 0, theta.length);
    float[] s = new float[theta.length];
    KernelProvider.best().quantizer().scales(theta, s);
    return s;
  }

  /** Clipped code as a float; rint first, then clip. */
  static float code(float w, float s, int low, int high) {
    float r = (float) Math.rint(w / s);
    return Math.max(low, Math.min(high, r));
  }

  static float clamp(float s) {
    return Math.max(MIN_SCALE, Math.min(MAX_SCALE, s));
  }

  static float absmax(float[] w, int from, int n) {
    float max = 0f;
    for (int i = from; i < from + n; i++) {
      max = Math.max(max, Math.abs(w[i]));
    }
    return max;
  }
}
