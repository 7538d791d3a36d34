package io.gracebeam.worker.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Products in C, with weights in tiles of 16 rows in memory outside the heap. Unpacking alone is
 * done in Java.
 */
final class NativeProducts implements ProductKernels, AutoCloseable {
  private static final String WHERE = "matmul";
  private static final long ALIGN = 64;
  private static final int LOW_HALF = 0xffff;

  private final NativeSession session;
  private final ProductKernels unpacking;
  private final ScratchBuffer scratch;

  NativeProducts(NativeSession session, ProductKernels unpacking) {
    this.session = session;
    this.unpacking = unpacking;
    this.scratch = new ScratchBuffer(session.library());
  }

  @Override
  public void matmul(float[] x, int m, PackedWeight w, float[] y) {
    try (PackedMatrix matrix = open(w)) {
      matrix.multiply(x, m, y);
    }
  }

  @Override
  public PackedMatrix open(PackedWeight w) {
    return new Product(w);
  }

  private final class Product implements PackedMatrix {
    private final Arena own = Arena.ofShared();
    private final MemorySegment weight;
    private final int rows;
    private final int cols;

    Product(PackedWeight w) {
      this.rows = w.rows();
      this.cols = w.cols();
      this.weight = pack(w, own);
    }

    @Override
    public void multiply(float[] x, int m, float[] y) {
      PackedWeight.checkProduct(WHERE, x, m, y, rows, cols);
      if (m == 0) {
        return;
      }
      NativeProducts.this.multiply(weight, rows, cols, x, m, y);
    }

    @Override
    public long bytes() {
      return weight.byteSize();
    }

    @Override
    public void close() {
      own.close();
    }
  }

  /** The weight in tiles, in memory of the arena. */
  MemorySegment pack(Matrix matrix, Arena arena) {
    return pack(matrix, reserve(bytes(matrix), arena));
  }

  /** Bytes of the weight in tiles. */
  long bytes(Matrix matrix) {
    return switch (matrix) {
      case Bf16Weight w -> bytes(w, Short.SIZE, w.cols(), 0);
      case FloatWeight w -> bytes(w, Float.SIZE, w.cols(), 0);
      case RandomWeight w -> bytes(w, w.bits(), w.group(), 0);
      case PackedWeight w -> bytes(w, w.bits(), w.groupSize(), form(w));
    };
  }

  private long bytes(Matrix m, int bits, int group, int form) {
    return library().weightBytes(bits, m.rows(), m.cols(), group, form);
  }

  /** Memory in huge pages, where the system has them; the arena gives it back. */
  MemorySegment reserve(long bytes, Arena arena) {
    return library().reserve(bytes, arena);
  }

  /** The weight in tiles, in memory of the right length. */
  MemorySegment pack(Matrix matrix, MemorySegment out) {
    try (Arena source = Arena.ofConfined()) {
      switch (matrix) {
        case Bf16Weight w ->
            library()
                .packDense(
                    source.allocateFrom(ValueLayout.JAVA_SHORT, w.values()),
                    Short.SIZE,
                    w.rows(),
                    w.cols(),
                    out);
        case FloatWeight w ->
            library()
                .packDense(
                    source.allocateFrom(ValueLayout.JAVA_FLOAT, w.values()),
                    Float.SIZE,
                    w.rows(),
                    w.cols(),
                    out);
        case RandomWeight w ->
            library().random(w.bits(), w.rows(), w.cols(), w.group(), w.seed(), out);
        case PackedWeight w -> library().pack(w, form(w), out);
      }
    }
    return out;
  }

  /**
   * A product with a weight of {@link #pack}; all memory is the caller's, space aligned to 64
   * bytes.
   */
  void multiply(MemorySegment weight, MemorySegment x, int m, MemorySegment y, MemorySegment own) {
    session.locking(() -> library().matmul(session.pool(), session.isa(), weight, x, m, y, own));
  }

  /** A product with a weight [rows, cols] of {@link #pack}; x [m, cols] and y [m, rows] fit. */
  void multiply(MemorySegment weight, int rows, int cols, float[] x, int m, float[] y) {
    session.locking(
        () -> {
          long in = up((long) Float.BYTES * m * cols);
          long out = up((long) Float.BYTES * m * rows);
          MemorySegment all = scratch(in + out + up(library().scratchBytes(weight, m)));
          MemorySegment inputs = all.asSlice(0, in);
          MemorySegment outputs = all.asSlice(in, out);
          MemorySegment.copy(x, 0, inputs, ValueLayout.JAVA_FLOAT, 0, m * cols);
          library()
              .matmul(
                  session.pool(), session.isa(), weight, inputs, m, outputs, all.asSlice(in + out));
          MemorySegment.copy(outputs, ValueLayout.JAVA_FLOAT, 0, y, 0, m * rows);
        });
  }

  /** Scratch space for one product; grows by a half at least. */
  private MemorySegment scratch(long bytes) {
    long now = scratch.bytes();
    return scratch.atLeast(bytes > now ? Math.max(bytes, now * 3 / 2) : bytes);
  }

  private static long up(long bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
  }

  /** GK_WIDE and GK_ZEROS. */
  private static int form(PackedWeight w) {
    return (wide(w.scales()) ? NativeLibrary.WIDE : 0) | (w.symmetric() ? 0 : NativeLibrary.ZEROS);
  }

  /** Whether some scale is no bfloat16 number. */
  private static boolean wide(float[] scales) {
    for (float s : scales) {
      if ((Float.floatToRawIntBits(s) & LOW_HALF) != 0) {
        return true;
      }
    }
    return false;
  }

  private NativeLibrary library() {
    return session.library();
  }

  /** Packs w for one product. */
  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    ScalarProducts.checkDense(x, m, w, rows, cols, y);
    if (m == 0) {
      return;
    }
    try (Arena own = Arena.ofShared()) {
      float[] exact = w.length == rows * cols ? w : Arrays.copyOf(w, rows * cols);
      multiply(pack(new FloatWeight(rows, cols, exact), own), rows, cols, x, m, y);
    }
  }

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    unpacking.dequantize(w, out);
  }

  @Override
  public void close() {
    scratch.close();
  }
}
