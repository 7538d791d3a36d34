package io.gracebeam.worker.kernels;

/**
 * A quantized weight [rows, cols] as packed words, scales and zero points (see {@link Packing});
 * weight = scale * (code - zero point).
 *
 * @param bits code width, 2 to 8
 * @param groupSize consecutive elements of a row that share a scale; divides cols
 * @param rows output features
 * @param cols input features
 * @param words packed codes [rows, ceil(cols * bits / 32)]; not copied
 * @param scales scales [rows, cols / groupSize], finite and positive; not copied
 * @param zeros zero points [rows, cols / groupSize] in the range of codes; empty for a symmetric
 *     weight, whose zero points are all 0; not copied
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
public record PackedWeight(
    int bits, int groupSize, int rows, int cols, int[] words, float[] scales, byte[] zeros)
    implements Matrix {
  private static final String WHERE = "PackedWeight";
  private static final int MAX_RUN = 128;

  private static final byte[] NO_ZEROS = {};

  /** Validates all sizes, the scales and the zero points. */
  public PackedWeight {
    Packing.checkBits(WHERE, bits);
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    Checks.positive(WHERE, "groupSize", groupSize);
    Checks.product(WHERE, rows, cols);
    Checks.product(WHERE, cols, bits);
    if (cols % groupSize != 0) {
      throw Checks.error(
          WHERE, "groupSize is %d, allowed are divisors of cols = %d", groupSize, cols);
    }
    Checks.length(
        WHERE, "words", words.length, Checks.product(WHERE, rows, Packing.wordsPerRow(cols, bits)));
    Checks.length(WHERE, "scales", scales.length, Checks.product(WHERE, rows, cols / groupSize));
    for (int i = 0; i < scales.length; i++) {
      if (!(scales[i] > 0f) || !Float.isFinite(scales[i])) {
        throw Checks.error(
            WHERE, "scales[%d] is %s, allowed are finite positive numbers", i, scales[i]);
      }
    }
    if (zeros.length > 0) {
      Checks.length(WHERE, "zeros", zeros.length, scales.length);
      Packing.checkCodes(WHERE, "zeros", zeros, bits);
    }
  }

  /** A symmetric weight. */
  public PackedWeight(int bits, int groupSize, int rows, int cols, int[] words, float[] scales) {
    this(bits, groupSize, rows, cols, words, scales, NO_ZEROS);
  }

  /**
   * Packs codes {@code [rows, cols]} with the scales {@code [spec.groups(rows, cols)]}; a
   * per-tensor scale is repeated for every row.
   */
  public static PackedWeight pack(
      byte[] codes, float[] scales, int rows, int cols, QuantSpec spec) {
    return pack(codes, scales, NO_ZEROS, rows, cols, spec);
  }

  /** Packs codes with a zero point for each scale; without zero points the weight is symmetric. */
  public static PackedWeight pack(
      byte[] codes, float[] scales, byte[] zeros, int rows, int cols, QuantSpec spec) {
    Checks.length(WHERE, "scales", scales.length, spec.groups(rows, cols));
    if (zeros.length > 0) {
      Checks.length(WHERE, "zeros", zeros.length, scales.length);
    }
    return new PackedWeight(
        spec.bits(),
        spec.segment(cols),
        rows,
        cols,
        Packing.pack(codes, rows, cols, spec.bits()),
        ofRows(scales, rows, spec),
        ofRows(zeros, rows, spec));
  }

  private static byte[] ofRows(byte[] zeros, int rows, QuantSpec spec) {
    if (!spec.perTensor() || zeros.length == 0) {
      return zeros.clone();
    }
    byte[] own = new byte[rows];
    java.util.Arrays.fill(own, zeros[0]);
    return own;
  }

  private static float[] ofRows(float[] scales, int rows, QuantSpec spec) {
    if (!spec.perTensor()) {
      return scales.clone();
    }
    float[] own = new float[rows];
    java.util.Arrays.fill(own, scales[0]);
    return own;
  }

  /** Quantizes w with log scales theta and packs the codes. */
  public static PackedWeight quantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec) {
    spec.check(WHERE, w, theta, rows, cols);
    Checks.product(WHERE, cols, spec.bits());
    float[] scales = LogScaleQuantizer.scales(theta);
    LatentWeight latent = new LatentWeight(w, rows, cols, spec);
    int[] words = KernelProvider.best().quantizer().packedCodes(latent, scales);
    return new PackedWeight(
        spec.bits(), spec.segment(cols), rows, cols, words, ofRows(scales, rows, spec));
  }

  /**
   * Weights below each other, as one.
   *
   * @throws IllegalArgumentException if they differ in bits, group size or cols, or if only some
   *     have zero points
   */
  public static PackedWeight stack(PackedWeight... parts) {
    PackedWeight first = parts[0];
    int rows = 0;
    for (PackedWeight p : parts) {
      if (p.bits != first.bits || p.groupSize != first.groupSize || p.cols != first.cols) {
        throw Checks.error(
            WHERE,
            "%d bits, groups of %d and %d cols below %d bits, groups of %d and %d cols, allowed are"
                + " equal ones",
            p.bits,
            p.groupSize,
            p.cols,
            first.bits,
            first.groupSize,
            first.cols);
      }
      if (p.symmetric() != first.symmetric()) {
        throw Checks.error(WHERE, "some have zero points, allowed are zero points in all or none");
      }
      rows = Math.addExact(rows, p.rows);
    }
    int[] words = new int[Checks.product(WHERE, rows, Packing.wordsPerRow(first.cols, first.bits))];
    float[] scales = new float[Checks.product(WHERE, rows, first.cols / first.groupSize)];
    byte[] zeros = first.symmetric() ? NO_ZEROS : new byte[scales.length];
    int word = 0;
    int scale = 0;
    for (PackedWeight p : parts) {
      System.arraycopy(p.words, 0, words, word, p.words.length);
      System.arraycopy(p.scales, 0, scales, scale, p.scales.length);
      System.arraycopy(p.zeros, 0, zeros, p.symmetric() ? 0 : scale, p.zeros.length);
      word += p.words.length;
      scale += p.scales.length;
    }
    return new PackedWeight(first.bits, first.groupSize, rows, first.cols, words, scales, zeros);
  }

  /**
   * Its zero points packed down the rows (see {@link Packing#packDown}): words [ceil(rows * bits /
   * 32), cols / groupSize]; none for a symmetric weight.
   */
  public int[] zeroWords() {
    return symmetric() ? new int[0] : Packing.packDown(zeros, rows, cols / groupSize, bits);
  }

  /** Whether it has no zero points. */
  public boolean symmetric() {
    return zeros.length == 0;
  }

  /** The zero point of the group at that index of {@link #scales}; 0 in a symmetric weight. */
  int zero(int group) {
    return zeros.length == 0 ? 0 : zeros[group];
  }

  /** Codes {@code [rows, cols]}. */
  public byte[] unpack() {
    return Packing.unpack(words, rows, cols, bits);
  }

  /** Writes the dequantized row {@code row} [cols] to {@code out} from {@code at} on. */
  public void row(int row, float[] out, int at) {
    if (row < 0 || row >= rows) {
      throw Checks.error(WHERE, "row is %d, allowed are 0 to %d", row, rows - 1);
    }
    Checks.notNegative(WHERE, "at", at);
    Checks.atLeast(WHERE, "out", out.length, Math.addExact(at, cols));
    int words = row * Packing.wordsPerRow(cols, bits);
    int groups = row * (cols / groupSize);
    for (int c = 0; c < cols; c++) {
      int group = groups + c / groupSize;
      out[at + c] = scales[group] * (Packing.code(this.words, words, c, bits) - zero(group));
    }
  }

  /** Dequantized weight {@code [rows, cols]}. */
  public float[] dequantize() {
    float[] out = new float[rows * cols];
    KernelProvider.best().products().dequantize(this, out);
    return out;
  }

  /** y = x w^T with the chosen kernels; x [m, cols], y [m, rows]. */
  public void matmul(float[] x, int m, float[] y) {
    KernelProvider.best().products().matmul(x, m, this, y);
  }

  /** Inputs that a product rounds together: the largest divisor of groupSize up to 128. */
  int run() {
    for (int run = Math.min(groupSize, MAX_RUN); ; run--) {
      if (groupSize % run == 0) {
        return run;
      }
    }
  }

  /** Bytes of the words, the float32 scales and the zero points, packed along the rows. */
  public long bytes() {
    long zeroBytes = symmetric() ? 0 : 4L * Packing.wordsPerRow(rows, bits) * (cols / groupSize);
    return 4L * words.length + 4L * scales.length + zeroBytes;
  }

  void checkProduct(String where, float[] x, int m, float[] y) {
    checkProduct(where, x, m, y, rows, cols);
  }

  static void checkProduct(String where, float[] x, int m, float[] y, int rows, int cols) {
    Checks.notNegative(where, "m", m);
    int n = Checks.product(where, m, cols);
    Checks.atLeast(where, "x", x.length, n);
    Checks.atLeast(where, "y", y.length, Checks.product(where, m, rows));
    Checks.finite(where, "x", x, 0, n);
  }
}
