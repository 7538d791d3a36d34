package io.gracebeam.worker.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Products with packed weights in C, on tiles of 16 rows in memory outside the heap; everything
 * else is the {@link VectorKernels}' or, without the Vector API, the {@link ScalarKernels}'. One
 * product runs at a time, on all threads.
 */
public final class NativeKernels implements Kernels, AutoCloseable {
  private static final String WHERE = "matmul";
  private static final long ALIGN = 64;
  private static final int LOW_HALF = 0xffff;

  private final NativeLibrary library;
  private final int isa;
  private final int threads;
  private final Kernels rest;
  private final MemorySegment pool;
  private final ReentrantLock lock = new ReentrantLock();
  private boolean closed;
  private Arena arena = Arena.ofShared();
  private MemorySegment space = MemorySegment.NULL;

  /**
   * Kernels with threads of their own, which end with {@link #close}.
   *
   * @param isa instruction set, at most the library's best
   * @param rest for all but packed weights
   */
  NativeKernels(NativeLibrary library, int isa, int threads, Kernels rest) {
    this.library = library;
    this.isa = isa;
    this.threads = threads;
    this.rest = rest;
    this.pool = library.newPool(threads);
  }

  @Override
  public String name() {
    return "native";
  }

  /** Instruction set and number of threads. */
  public String describe() {
    return NativeLibrary.isaName(isa) + ", " + threads + " thread(s)";
  }

  /** Products with packed weights are those of all kernels; decoders are these kernels' own. */
  @Override
  public String identity() {
    return rest.identity() + ", native decoder";
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
      lock();
      try {
        long in = up((long) Float.BYTES * m * cols);
        long out = up((long) Float.BYTES * m * rows);
        MemorySegment all = space(in + out + up(library.scratchBytes(weight, m)));
        MemorySegment inputs = all.asSlice(0, in);
        MemorySegment outputs = all.asSlice(in, out);
        MemorySegment.copy(x, 0, inputs, ValueLayout.JAVA_FLOAT, 0, m * cols);
        library.matmul(pool, isa, weight, inputs, m, outputs, all.asSlice(in + out));
        MemorySegment.copy(outputs, ValueLayout.JAVA_FLOAT, 0, y, 0, m * rows);
      } finally {
        lock.unlock();
      }
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
    try (Arena source = Arena.ofConfined()) {
      return switch (matrix) {
        case Bf16Weight w ->
            dense(w, source.allocateFrom(ValueLayout.JAVA_SHORT, w.values()), Short.SIZE, arena);
        case FloatWeight w ->
            dense(w, source.allocateFrom(ValueLayout.JAVA_FLOAT, w.values()), Float.SIZE, arena);
        case RandomWeight w -> {
          MemorySegment out = tiles(w, w.bits(), w.group(), false, arena);
          library.random(w.bits(), w.rows(), w.cols(), w.group(), w.seed(), out);
          yield out;
        }
        case PackedWeight w -> {
          boolean wide = wide(w.scales());
          MemorySegment out = tiles(w, w.bits(), w.groupSize(), wide, arena);
          library.pack(
              source.allocateFrom(ValueLayout.JAVA_INT, w.words()),
              source.allocateFrom(ValueLayout.JAVA_FLOAT, w.scales()),
              w.bits(),
              w.rows(),
              w.cols(),
              w.groupSize(),
              wide,
              out);
          yield out;
        }
      };
    }
  }

  private MemorySegment dense(Matrix m, MemorySegment values, int bits, Arena arena) {
    MemorySegment out = tiles(m, bits, m.cols(), false, arena);
    library.packDense(values, bits, m.rows(), m.cols(), out);
    return out;
  }

  private MemorySegment tiles(Matrix m, int bits, int group, boolean wide, Arena arena) {
    return library.reserve(library.weightBytes(bits, m.rows(), m.cols(), group, wide), arena);
  }

  /**
   * A decoder on packed weights; the originals are not needed afterwards.
   *
   * @throws IllegalStateException if the system refuses the memory
   */
  public PackedDecoder decoder(DecoderWeights weights) {
    return new PackedDecoder(this, weights);
  }

  MemorySegment newDecoder(MemorySegment config, List<MemorySegment> tensors) {
    lock();
    try {
      return library.newDecoder(pool, isa, config, tensors);
    } finally {
      lock.unlock();
    }
  }

  void freeDecoder(MemorySegment decoder) {
    library.freeDecoder(decoder);
  }

  long decoderBytes(MemorySegment decoder) {
    return library.decoderBytes(decoder);
  }

  void forward(
      MemorySegment decoder,
      int rows,
      MemorySegment slots,
      MemorySegment positions,
      MemorySegment rope,
      MemorySegment x) {
    lock();
    try {
      library.forward(decoder, rows, slots, positions, rope, x);
    } finally {
      lock.unlock();
    }
  }

  void logits(MemorySegment decoder, int rows, MemorySegment x, MemorySegment out) {
    lock();
    try {
      library.logits(decoder, rows, x, out);
    } finally {
      lock.unlock();
    }
  }

  /**
   * A product with a weight of {@link #pack}; all memory is the caller's, space aligned to 64
   * bytes.
   */
  void multiply(MemorySegment weight, MemorySegment x, int m, MemorySegment y, MemorySegment own) {
    lock();
    try {
      library.matmul(pool, isa, weight, x, m, y, own);
    } finally {
      lock.unlock();
    }
  }

  /** Reads memory as fast as it goes. */
  void read(MemorySegment memory) {
    lock();
    try {
      library.read(pool, memory);
    } finally {
      lock.unlock();
    }
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

  private void lock() {
    lock.lock();
    if (closed) {
      lock.unlock();
      throw new IllegalStateException("the native kernels are closed");
    }
  }

  private static long up(long bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
  }

  /** Space for one product; grows by a half at least, under the lock. */
  private MemorySegment space(long bytes) {
    if (space.byteSize() < bytes) {
      long wanted = Math.max(bytes, space.byteSize() * 3 / 2);
      arena.close();
      arena = Arena.ofShared();
      space = MemorySegment.NULL;
      space = arena.allocate(wanted, ALIGN);
    }
    return space;
  }

  @Override
  public void close() {
    lock.lock();
    try {
      if (!closed) {
        closed = true;
        library.freePool(pool);
        arena.close();
      }
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    rest.dense(x, m, w, rows, cols, y);
  }

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    rest.dequantize(w, out);
  }

  @Override
  public void fakeQuantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec, float[] out) {
    rest.fakeQuantize(w, theta, rows, cols, spec, out);
  }

  @Override
  public void lsqGradient(
      float[] w,
      float[] theta,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    rest.lsqGradient(w, theta, dWhat, rows, cols, spec, thetaFactor, dW, dTheta);
  }

  @Override
  public void adamW(
      float[] p,
      float[] g,
      float[] m,
      float[] v,
      double lr,
      double b1,
      double b2,
      double eps,
      double decay,
      int t,
      float gradScale) {
    rest.adamW(p, g, m, v, lr, b1, b2, eps, decay, t, gradScale);
  }
}
