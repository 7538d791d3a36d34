package io.gracebeam.worker.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;

/**
 * The kernels in C: products with packed weights on tiles of 16 rows in memory outside the heap,
 * and what {@link NativeTraining} does on arrays of the heap. Unpacking alone is the {@link
 * VectorKernels}' or, without the Vector API, the {@link ScalarKernels}'. One call runs at a time,
 * on all threads. No result depends on the instruction set or the number of threads.
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
  private final NativeTraining training;
  private final NativeRoom relations;
  private final ReentrantLock lock = new ReentrantLock();
  private boolean closed;
  private Arena arena = Arena.ofShared();
  private MemorySegment space = MemorySegment.NULL;

  /**
   * Kernels with threads of their own, which end with {@link #close}.
   *
   * @param isa instruction set, at most the library's best
   * @param rest unpacks weights
   */
  NativeKernels(NativeLibrary library, int isa, int threads, Kernels rest) {
    this.library = library;
    this.isa = isa;
    this.threads = threads;
    this.rest = rest;
    this.pool = library.newPool(threads);
    this.training = new NativeTraining(library, pool, isa);
    this.relations = new NativeRoom(library);
  }

  @Override
  public String name() {
    return "native";
  }

  /** Instruction set and number of threads. */
  public String describe() {
    return NativeLibrary.isaName(isa) + ", " + threads + " thread(s)";
  }

  NativeLibrary library() {
    return library;
  }

  /** Every instruction set gives the same bits, and what is left to Java has one result. */
  @Override
  public String identity() {
    return "native " + NativeLibrary.VERSION;
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
      NativeKernels.this.multiply(weight, rows, cols, x, m, y);
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
      case Bf16Weight w -> bytes(w, Short.SIZE, w.cols(), false);
      case FloatWeight w -> bytes(w, Float.SIZE, w.cols(), false);
      case RandomWeight w -> bytes(w, w.bits(), w.group(), false);
      case PackedWeight w -> bytes(w, w.bits(), w.groupSize(), wide(w.scales()));
    };
  }

  private long bytes(Matrix m, int bits, int group, boolean wide) {
    return library.weightBytes(bits, m.rows(), m.cols(), group, wide);
  }

  /** Memory in huge pages, where the system has them; the arena gives it back. */
  MemorySegment reserve(long bytes, Arena arena) {
    return library.reserve(bytes, arena);
  }

  /** The weight in tiles, in memory of the right length. */
  MemorySegment pack(Matrix matrix, MemorySegment out) {
    try (Arena source = Arena.ofConfined()) {
      switch (matrix) {
        case Bf16Weight w ->
            library.packDense(
                source.allocateFrom(ValueLayout.JAVA_SHORT, w.values()),
                Short.SIZE,
                w.rows(),
                w.cols(),
                out);
        case FloatWeight w ->
            library.packDense(
                source.allocateFrom(ValueLayout.JAVA_FLOAT, w.values()),
                Float.SIZE,
                w.rows(),
                w.cols(),
                out);
        case RandomWeight w ->
            library.random(w.bits(), w.rows(), w.cols(), w.group(), w.seed(), out);
        case PackedWeight w ->
            library.pack(
                source.allocateFrom(ValueLayout.JAVA_INT, w.words()),
                source.allocateFrom(ValueLayout.JAVA_FLOAT, w.scales()),
                w.bits(),
                w.rows(),
                w.cols(),
                w.groupSize(),
                wide(w.scales()),
                out);
      }
    }
    return out;
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
        relations.close();
        arena.close();
      }
    } finally {
      lock.unlock();
    }
  }

  /** Packs w for one product. */
  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    ScalarKernels.checkDense(x, m, w, rows, cols, y);
    if (m == 0) {
      return;
    }
    try (Arena own = Arena.ofShared()) {
      float[] exact = w.length == rows * cols ? w : java.util.Arrays.copyOf(w, rows * cols);
      multiply(pack(new FloatWeight(rows, cols, exact), own), rows, cols, x, m, y);
    }
  }

  /** A product with a weight [rows, cols] of {@link #pack}; x [m, cols] and y [m, rows] fit. */
  void multiply(MemorySegment weight, int rows, int cols, float[] x, int m, float[] y) {
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

  private <T> T locked(Supplier<T> body) {
    lock();
    try {
      return body.get();
    } finally {
      lock.unlock();
    }
  }

  private void locking(Runnable body) {
    lock();
    try {
      body.run();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    rest.dequantize(w, out);
  }

  @Override
  public void fakeQuantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec, float[] out) {
    int n = spec.check("fakeQuantize", w, theta, rows, cols);
    Checks.length("fakeQuantize", "out", out.length, n);
    float[] scales = LogScaleQuantizer.scales(theta);
    locking(() -> training.fakeQuantize(w, scales, rows, cols, spec, out));
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
    LsqGradient.check("lsqGradient", w, theta, dWhat, rows, cols, spec, thetaFactor, dW, dTheta);
    float[] s = LogScaleQuantizer.scales(theta);
    MemorySegment d = MemorySegment.ofArray(dWhat);
    locking(() -> training.gradient(w, s, d, rows, cols, spec, thetaFactor, dW, dTheta));
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
    AdamW.Settings s = AdamW.check(p, g, m, v, lr, b1, b2, eps, decay, t, gradScale);
    plainStep(s, p, MemorySegment.ofArray(g), m, v, null);
  }

  @Override
  public void plainStep(
      AdamW.Settings s, float[] p, MemorySegment g, float[] m, float[] v, WeightCopy out) {
    AdamW.Factors f = AdamW.factors(s);
    locking(() -> training.adamW(f, p, g, m, v, out));
  }

  @Override
  public void scales(float[] theta, float[] scales) {
    locking(() -> training.scales(theta, scales));
  }

  @Override
  public void searchScales(float[] w, QuantSpec spec, float[] scales) {
    double[] ratios = new double[LogScaleQuantizer.STEPS];
    java.util.Arrays.setAll(ratios, LogScaleQuantizer::ratio);
    locking(() -> training.searchScales(w, spec.groupSize(), spec.bits(), ratios, scales));
  }

  @Override
  public int[] packedCodes(float[] w, float[] scales, int rows, int cols, QuantSpec spec) {
    int[] words = new int[rows * Packing.wordsPerRow(cols, spec.bits())];
    locking(() -> training.quantize(w, scales, rows, cols, spec, words));
    return words;
  }

  @Override
  public double quantizerGradient(
      float[] w,
      float[] scales,
      MemorySegment g,
      int rows,
      int cols,
      QuantSpec spec,
      float[] dTheta) {
    return locked(() -> training.gradient(w, scales, g, rows, cols, spec, 1, null, dTheta));
  }

  @Override
  public void quantizedStep(
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
    AdamW.Factors f = AdamW.factors(settings);
    locking(() -> training.quantizedStep(f, w, g, m, v, before, after, rows, cols, spec, out));
  }

  @Override
  public double squares(MemorySegment v) {
    return locked(() -> training.squares(v));
  }

  @Override
  public TokenLosses.Result tokenLosses(TokenLosses.Batch batch, float[] d) {
    double[] losses = new double[2 * batch.rows()];
    TokenLosses.Rows rows = batch.withoutLogits();
    MemorySegment logits = MemorySegment.ofArray(batch.logits());
    if (!locked(() -> training.tokenLosses(rows, logits, losses, MemorySegment.ofArray(d)))) {
      // Rows with such a number are as they were, even where d is the logits.
      TokenLosses.checkLogits(batch);
      checkTeacher(rows);
      throw Checks.error("TokenLosses", "a number is not finite, allowed are finite ones");
    }
    return result(losses);
  }

  @Override
  public TokenLosses.Result tokenLosses(TokenLosses.Rows rows, MemorySegment logits) {
    double[] losses = new double[2 * rows.rows()];
    if (!locked(() -> training.tokenLosses(rows, logits, losses, logits))) {
      checkTeacher(rows);
    }
    return result(losses);
  }

  private static void checkTeacher(TokenLosses.Rows rows) {
    if (rows.teacher() != null) {
      rows.teacher().checkFinite();
    }
  }

  private static TokenLosses.Result result(double[] losses) {
    double[] ce = new double[losses.length / 2];
    double[] distillation = new double[ce.length];
    for (int i = 0; i < ce.length; i++) {
      ce[i] = losses[2 * i];
      distillation[i] = losses[2 * i + 1];
    }
    return new TokenLosses.Result(ce, distillation);
  }

  @Override
  public TeacherStatistics[] statistics(
      float[] logits, int rows, int vocab, int[] targets, double temperature) {
    TeacherStatistics[] out =
        locked(() -> training.statistics(logits, rows, vocab, targets, temperature));
    if (out == null) {
      Checks.finite("TeacherStatistics.ofRows", "logits", logits, 0, logits.length);
    }
    return out;
  }

  @Override
  public TopK.Selection topK(float[] logits, int rows, int vocab, int k) {
    return locked(() -> training.topK(logits, rows, vocab, k));
  }

  @Override
  public float[] gram(float[] v, int n, int d) {
    return gram(v, n, d, Rcka.MEMORY);
  }

  float[] gram(float[] v, int n, int d, long bytes) {
    return locked(() -> training.gram(v, n, d, relation(n, d, bytes)));
  }

  @Override
  public Rcka.Result rcka(float[] teacher, float[] v, int n, int d, long bytes) {
    return locked(() -> training.rcka(teacher, v, n, d, relation(n, d, bytes)));
  }

  /** Space for the similarities of one image; not more than is asked for, under the lock. */
  private MemorySegment relation(int n, int d, long bound) {
    long bytes = relationBytes(n, d, bound);
    return relations.of(bytes).asSlice(0, bytes);
  }

  /** What that takes: at most the bound, but what it must have. */
  long relationBytes(int n, int d, long bound) {
    return training.rckaScratch(n, d, bound);
  }
}
