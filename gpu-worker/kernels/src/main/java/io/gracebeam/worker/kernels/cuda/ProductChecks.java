package io.gracebeam.worker.kernels.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.gracebeam.worker.kernels.Bf16;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Random;

/** Packing and products against sums in double precision. */
final class ProductChecks {
  static final MemorySegment STREAM = MemorySegment.NULL; // the default one

  /** GKC_WIDE, GKC_ZEROS: float32 scales, zero points. */
  static final int WIDE = 1;

  static final int ZEROS = 2;

  private final CudaLibrary library;
  private final Device device;

  ProductChecks(CudaLibrary library, Device device) {
    this.library = library;
    this.device = device;
  }

  /** gkc_weight: four-byte fields, then pointers and lengths. */
  static MemorySegment describe(
      CudaLibrary library, Arena arena, int bits, int rows, int cols, int group, int form) {
    MemorySegment weight = arena.allocate(56, 8);
    library.checked("gkc_weight_describe", bits, rows, cols, group, form, weight);
    return weight;
  }

  static long codeBytes(MemorySegment weight) {
    return weight.get(JAVA_LONG, 40);
  }

  static long scaleBytes(MemorySegment weight) {
    return weight.get(JAVA_LONG, 48);
  }

  static void point(MemorySegment weight, MemorySegment codes, MemorySegment scales) {
    weight.set(ADDRESS, 24, codes);
    weight.set(ADDRESS, 32, scales);
  }

  static int field(MemorySegment weight, int index) {
    return weight.getAtIndex(JAVA_INT, index);
  }

  /** A weight on the device; its scales are as given, or rounded to bfloat16. */
  static MemorySegment pack(
      CudaLibrary library, Arena arena, GuardedMemory memory, PackedWeight w, boolean wide) {
    int form = (wide ? WIDE : 0) | (w.symmetric() ? 0 : ZEROS);
    MemorySegment weight =
        describe(library, arena, w.bits(), w.rows(), w.cols(), w.groupSize(), form);
    point(weight, memory.output(codeBytes(weight)), memory.output(scaleBytes(weight)));
    MemorySegment zeros = w.symmetric() ? MemorySegment.NULL : memory.bytes(w.zeros());
    library.checked(
        "gkc_pack",
        memory.ints(w.words()),
        memory.floats(w.scales()),
        zeros,
        w.bits(),
        weight,
        STREAM);
    return weight;
  }

  /** A 16-bit weight on the device. */
  static MemorySegment packBf16(
      CudaLibrary library, Arena arena, GuardedMemory memory, short[] values, int rows, int cols) {
    MemorySegment weight = describe(library, arena, 16, rows, cols, cols, 0);
    point(weight, memory.output(codeBytes(weight)), MemorySegment.NULL);
    library.checked("gkc_pack_bf16", memory.shorts(values), weight, STREAM);
    return weight;
  }

  private static byte[] codes(Random random, int bits, int n) {
    byte[] codes = new byte[n];
    for (int i = 0; i < n; i++) {
      codes[i] = (byte) (random.nextInt(1 << bits) - (1 << (bits - 1)));
    }
    return codes;
  }

  /** Random codes and scales; exact ones are powers of two. */
  static PackedWeight random(
      Random random, int bits, int rows, int cols, int group, boolean exact) {
    byte[] codes = codes(random, bits, rows * cols);
    float[] scales = new float[rows * (cols / group)];
    for (int i = 0; i < scales.length; i++) {
      scales[i] =
          exact ? 1 << random.nextInt(3) : (float) Math.exp(random.nextGaussian() - 3) + 1e-6f;
    }
    return PackedWeight.pack(codes, scales, rows, cols, new QuantSpec(bits, group, false));
  }

  /** Random zero points, for codes and scales that exist without them. */
  static PackedWeight shifted(Random random, PackedWeight w) {
    byte[] zeros = codes(random, w.bits(), w.scales().length);
    return new PackedWeight(
        w.bits(), w.groupSize(), w.rows(), w.cols(), w.words(), w.scales(), zeros);
  }

  /** Inputs that are bfloat16 numbers; exact ones are small integers. */
  static float[] inputs(Random random, int n, boolean exact) {
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = exact ? random.nextInt(17) - 8 : Bf16.round((float) random.nextGaussian());
    }
    return x;
  }

  /**
   * A product of any layout.
   *
   * @param bits 2 to 8, or 16
   * @param group columns of a scale, a divisor of cols; ignored with 16 bits
   * @param exact small integers, for which sums are exact in any order
   */
  void product(
      int bits, int rows, int cols, int group, int m, boolean wide, boolean exact, long seed) {
    Random random = new Random(seed);
    if (bits != 16) {
      multiply(random, random(random, bits, rows, cols, group, exact), m, wide, exact);
      return;
    }
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      float[] w = inputs(random, rows * cols, exact);
      MemorySegment weight = packBf16(library, arena, memory, Bf16.fromFloats(w), rows, cols);
      float[] x = inputs(random, m * cols, exact);
      compare(memory, weight, x, w, rows, cols, m, 1, exact);
    }
  }

  /**
   * A product with zero points, against the oracle and against that of the symmetric weight where
   * all of them are 0.
   *
   * @param bits 2 to 8
   */
  void zeroPoints(int bits, int rows, int cols, int group, int m, boolean exact, long seed) {
    Random random = new Random(seed);
    PackedWeight symmetric = random(random, bits, rows, cols, group, exact);
    multiply(random, shifted(random, symmetric), m, random.nextBoolean(), exact);
    PackedWeight centered =
        new PackedWeight(
            bits,
            group,
            rows,
            cols,
            symmetric.words(),
            symmetric.scales(),
            new byte[symmetric.scales().length]);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      float[] x = inputs(random, m * cols, exact);
      float[] a = multiply(memory, pack(library, arena, memory, symmetric, true), x, m, rows);
      float[] b = multiply(memory, pack(library, arena, memory, centered, true), x, m, rows);
      Close.that(Arrays.equals(a, b), "zero points of 0 change a product");
    }
  }

  private void multiply(Random random, PackedWeight w, int m, boolean wide, boolean exact) {
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment weight = pack(library, arena, memory, w, wide);
      float[] x = inputs(random, m * w.cols(), exact);
      float[] values = dequantized(w, wide);
      int groups = w.cols() / w.groupSize();
      compare(memory, weight, x, values, w.rows(), w.cols(), m, groups, exact);
    }
  }

  private void compare(
      GuardedMemory memory,
      MemorySegment weight,
      float[] x,
      float[] w,
      int rows,
      int cols,
      int m,
      int groups,
      boolean exact) {
    MemorySegment input = memory.shorts(Bf16.fromFloats(x));
    MemorySegment y = memory.output(4L * m * rows);
    library.checked("gkc_matmul", weight, input, m, y, 0, STREAM);
    float[] found = memory.readFloats(y, m * rows);
    compare(x, w, rows, cols, m, groups, exact, found, null);
    library.checked("gkc_matmul", weight, input, m, y, 1, STREAM);
    compare(x, w, rows, cols, m, groups, exact, memory.readFloats(y, m * rows), found);
  }

  static float[] dequantized(PackedWeight w, boolean wide) {
    byte[] codes = w.unpack();
    float[] out = new float[codes.length];
    for (int i = 0; i < out.length; i++) {
      float scale = w.scales()[i / w.groupSize()];
      int code = codes[i] - (w.symmetric() ? 0 : w.zeros()[i / w.groupSize()]);
      // Exact or not, the product of a code and a scale is only used in double precision below.
      out[i] = code * (wide ? scale : Bf16.round(scale));
    }
    return out;
  }

  /**
   * Every one of at most cols + groups + 1 additions to a float32 sum loses at most 2^-23 of the
   * largest sum (tensor cores cut off, others round), which the sum of magnitudes bounds; a float32
   * weight of this oracle is off by 2^-24 itself.
   */
  private static void compare(
      float[] x,
      float[] w,
      int rows,
      int cols,
      int m,
      int groups,
      boolean exact,
      float[] found,
      float[] before) {
    for (int i = 0; i < m; i++) {
      for (int r = 0; r < rows; r++) {
        int at = i * rows + r;
        double sum = before == null ? 0 : before[at];
        double magnitude = Math.abs(sum);
        for (int c = 0; c < cols; c++) {
          double term = (double) x[i * cols + c] * w[r * cols + c];
          sum += term;
          magnitude += Math.abs(term);
        }
        double bound = exact ? 0 : (cols + groups + 2) * 0x1p-23 * magnitude;
        Close.check("y", at, found[at], sum, bound);
      }
    }
  }

  /** An input among others: the bits of its result do not change. */
  void inputsAreIndependent(int bits, int rows, int cols, int m, long seed) {
    Random random = new Random(seed);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment weight =
          pack(library, arena, memory, random(random, bits, rows, cols, 32, false), false);
      float[] x = inputs(random, m * cols, false);
      float[] together = multiply(memory, weight, x, m, rows);
      int first = m <= 16 ? 1 : 17;
      float[] apart = multiply(memory, weight, Arrays.copyOf(x, first * cols), first, rows);
      Close.that(
          Arrays.equals(apart, Arrays.copyOf(together, first * rows)),
          "an input's result depends on the others");
    }
  }

  private float[] multiply(GuardedMemory memory, MemorySegment weight, float[] x, int m, int rows) {
    MemorySegment y = memory.output(4L * m * rows);
    MemorySegment input = memory.shorts(Bf16.fromFloats(x));
    library.checked("gkc_matmul", weight, input, m, y, 0, STREAM);
    return memory.readFloats(y, m * rows);
  }

  /** Rounding to bfloat16, special values included. */
  void rounding(int n, long seed) {
    Random random = new Random(seed);
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = Float.intBitsToFloat(random.nextInt());
      if (Float.isNaN(x[i])) {
        x[i] = i % 2 == 0 ? Float.POSITIVE_INFINITY : -0f;
      }
    }
    try (GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment out = memory.output(2L * n);
      library.checked("gkc_round_bf16", memory.floats(x), (long) n, out, STREAM);
      Close.that(Arrays.equals(memory.readShorts(out, n), Bf16.fromFloats(x)), "rounding differs");
    }
  }

  /** A real quantized weight, as the exporter packs it. */
  static PackedWeight quantized(Random random, int bits, int rows, int cols, int group) {
    float[] w = new float[rows * cols];
    for (int i = 0; i < w.length; i++) {
      w[i] = (float) (random.nextGaussian() / Math.sqrt(cols));
    }
    QuantSpec spec = new QuantSpec(bits, group, false);
    float[] theta = LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec);
    return PackedWeight.quantize(w, theta, rows, cols, spec);
  }
}
