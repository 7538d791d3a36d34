package io.gracebeam.worker.kernels;

import static java.lang.foreign.MemorySegment.NULL;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The quantizer's, losses' and optimizer's functions of {@code grace_kernels.h} on arrays of the
 * heap. Such a call holds the garbage collector up, so large work goes in pieces of some
 * milliseconds. Arguments have been checked; one call at a time.
 */
final class NativeTraining {
  /** GK_EVALUE. */
  private static final int BAD_NUMBER = -7;

  /** Numbers of one call. */
  private static final long PIECE = 1 << 23;

  private static final int SQUARES = 1 << 16;
  private static final int STATISTICS = 6;
  private static final int LOSSES_BYTES = 56;

  private final MemorySegment pool;
  private final int isa;
  private final MethodHandle searchScales;
  private final MethodHandle scales;
  private final MethodHandle quantize;
  private final MethodHandle fakeQuantize;
  private final MethodHandle gradient;
  private final MethodHandle squares;
  private final MethodHandle adamW;
  private final MethodHandle quantizedStep;
  private final MethodHandle tokenLosses;
  private final MethodHandle statistics;
  private final MethodHandle topK;
  private final MethodHandle rckaScratch;
  private final MethodHandle rckaLeast;
  private final MethodHandle gram;
  private final MethodHandle rcka;

  NativeTraining(NativeLibrary library, MemorySegment pool, int isa) {
    this.pool = pool;
    this.isa = isa;
    this.searchScales =
        library.onHeap(
            "gk_search_scales",
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            JAVA_FLOAT,
            JAVA_FLOAT,
            ADDRESS);
    this.scales = library.onHeap("gk_scales", ADDRESS, JAVA_LONG, JAVA_FLOAT, JAVA_FLOAT, ADDRESS);
    this.quantize = library.onHeap("gk_quantize", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    this.fakeQuantize = library.onHeap("gk_fake_quantize", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    this.gradient =
        library.onHeap(
            "gk_quantizer_gradient",
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS);
    this.squares = library.onHeap("gk_squares", ADDRESS, JAVA_LONG, ADDRESS);
    this.adamW =
        library.onHeap(
            "gk_adamw_step",
            ADDRESS,
            JAVA_LONG,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT);
    this.quantizedStep =
        library.onHeap(
            "gk_quantized_step",
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT);
    this.tokenLosses =
        library.onHeap(
            "gk_token_losses",
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS);
    this.statistics =
        library.onHeap("gk_statistics", ADDRESS, JAVA_INT, JAVA_INT, ADDRESS, JAVA_DOUBLE, ADDRESS);
    this.topK = library.onHeap("gk_top_k", ADDRESS, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS, ADDRESS);
    this.rckaScratch = library.function("gk_rcka_scratch", JAVA_LONG, JAVA_INT, JAVA_INT);
    this.rckaLeast = library.function("gk_rcka_least", JAVA_LONG, JAVA_INT, JAVA_INT);
    this.gram = library.onHeap("gk_gram", ADDRESS, JAVA_INT, JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG);
    this.rcka =
        library.onHeap(
            "gk_rcka",
            ADDRESS,
            ADDRESS,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_DOUBLE,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_LONG);
  }

  void searchScales(float[] w, int group, int bits, double[] ratios, float[] scales) {
    int groups = scales.length;
    int step = pieces(group);
    for (int from = 0; from < groups; from += step) {
      run(
          searchScales,
          at(w, (long) from * group),
          (long) Math.min(step, groups - from),
          (long) group,
          bits,
          all(ratios),
          LogScaleQuantizer.MIN_SCALE,
          LogScaleQuantizer.MAX_SCALE,
          at(scales, from));
    }
  }

  void scales(float[] theta, float[] out) {
    run(
        scales,
        all(theta),
        (long) theta.length,
        LogScaleQuantizer.MIN_SCALE,
        LogScaleQuantizer.MAX_SCALE,
        all(out));
  }

  void quantize(float[] w, float[] scales, int rows, int cols, QuantSpec spec, int[] words) {
    int perRow = words.length / rows;
    int step = pieces(cols);
    for (int r = 0; r < rows; r += step) {
      MemorySegment shape = grouping(Math.min(step, rows - r), cols, spec);
      run(
          quantize,
          shape,
          at(w, (long) r * cols),
          scalesOf(scales, r, cols, spec),
          MemorySegment.ofArray(words).asSlice((long) Integer.BYTES * r * perRow));
    }
  }

  void fakeQuantize(float[] w, float[] scales, int rows, int cols, QuantSpec spec, float[] out) {
    int step = pieces(cols);
    for (int r = 0; r < rows; r += step) {
      MemorySegment shape = grouping(Math.min(step, rows - r), cols, spec);
      long from = (long) r * cols;
      run(fakeQuantize, shape, at(w, from), scalesOf(scales, r, cols, spec), at(out, from));
    }
  }

  /**
   * Gradient of each scale's logarithm, times a factor, into dTheta; dW may be null.
   *
   * @return sum of squares of the gradient that the mask lets pass
   */
  double gradient(
      float[] w,
      float[] scales,
      MemorySegment d,
      int rows,
      int cols,
      QuantSpec spec,
      double factor,
      float[] dW,
      float[] dTheta) {
    int perRow = cols / spec.segment(cols);
    // A row's part of what is one sum over all rows; or what is yet to be multiplied.
    double[] ds = spec.perTensor() || factor != 1 ? new double[rows * perRow] : null;
    double[] squaresOfRows = new double[rows];
    int step = pieces(cols);
    for (int r = 0; r < rows; r += step) {
      long from = (long) r * cols;
      long scale = (long) r * perRow;
      run(
          gradient,
          grouping(Math.min(step, rows - r), cols, spec),
          at(w, from),
          scalesOf(scales, r, cols, spec),
          d.asSlice(Float.BYTES * from),
          dW == null ? NULL : at(dW, from),
          ds == null ? NULL : at(ds, scale),
          ds == null ? at(dTheta, scale) : NULL,
          at(squaresOfRows, r));
    }
    if (spec.perTensor()) {
      dTheta[0] = (float) (factor * scales[0] * sum(ds));
    } else if (ds != null) {
      for (int k = 0; k < ds.length; k++) {
        dTheta[k] = (float) (factor * scales[k] * ds[k]);
      }
    }
    return sum(squaresOfRows);
  }

  double squares(MemorySegment v) {
    long n = v.byteSize() / Float.BYTES;
    double[] sums = new double[(int) ((n + SQUARES - 1) / SQUARES)];
    run(squares, v, n, all(sums));
    return sum(sums);
  }

  static double sum(double[] parts) {
    double out = 0;
    for (double p : parts) {
      out += p;
    }
    return out;
  }

  void adamW(AdamW.Factors step, float[] p, MemorySegment g, float[] m, float[] v, WeightCopy out) {
    int n = (int) PIECE;
    for (int from = 0; from < p.length; from += n) {
      run(
          adamW,
          factors(step),
          (long) Math.min(n, p.length - from),
          at(p, from),
          g.asSlice((long) Float.BYTES * from),
          at(m, from),
          at(v, from),
          out == null ? NULL : out.from(from),
          out != null && out.half() ? 1 : 0);
    }
  }

  void quantizedStep(
      AdamW.Factors step,
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
    int piece = pieces(cols);
    for (int r = 0; r < rows; r += piece) {
      long from = (long) r * cols;
      run(
          quantizedStep,
          grouping(Math.min(piece, rows - r), cols, spec),
          factors(step),
          at(w, from),
          g.asSlice(Float.BYTES * from),
          at(m, from),
          at(v, from),
          scalesOf(before, r, cols, spec),
          scalesOf(after, r, cols, spec),
          out.from(from),
          out.half() ? 1 : 0);
    }
  }

  /**
   * Losses [rows, 2] of logits [rows, vocab] on the heap or in native memory, and their gradient.
   *
   * @return whether all numbers were finite
   */
  boolean tokenLosses(TokenLosses.Rows b, MemorySegment logits, double[] losses, MemorySegment d) {
    boolean good = true;
    TeacherRows t = b.teacher();
    int k = t == null ? 0 : t.k();
    boolean listed = t != null && !t.isFull();
    double[] known = listed ? known(t) : null;
    int step = pieces(b.vocab());
    for (int r = 0; r < b.rows(); r += step) {
      long at = (long) r * b.vocab();
      good &=
          run(
              tokenLosses,
              shape(b, Math.min(step, b.rows() - r), k, listed),
              logits.asSlice(Float.BYTES * at),
              at(b.targets(), r),
              t == null ? NULL : at(t.values(), (t.first() + (long) r) * k),
              listed ? at(t.ids(), (long) r * k) : NULL,
              listed ? at(known, 3L * r) : NULL,
              t == null ? NULL : at(b.weights(), r),
              at(losses, 2L * r),
              d.asSlice(Float.BYTES * at));
    }
    return good;
  }

  private static double[] known(TeacherRows t) {
    double[] out = new double[3 * t.rows()];
    for (int i = 0; i < t.rows(); i++) {
      out[3 * i] = t.targetLogProbs()[i];
      out[3 * i + 1] = t.logSumExps()[i];
      out[3 * i + 2] = t.nonTargetLogSumExps()[i];
    }
    return out;
  }

  /** A gk_losses. */
  private static MemorySegment shape(TokenLosses.Rows b, int rows, int k, boolean listed) {
    MemorySegment s = MemorySegment.ofArray(new long[LOSSES_BYTES / Long.BYTES]);
    GatedDkd.Options o = b.options() == null ? GatedDkd.Options.grace() : b.options();
    s.setAtIndex(JAVA_INT, 0, rows);
    s.setAtIndex(JAVA_INT, 1, b.vocab());
    s.setAtIndex(JAVA_INT, 2, k);
    s.setAtIndex(JAVA_INT, 3, listed ? 1 : 0);
    s.setAtIndex(JAVA_INT, 4, o.mode() == GatedDkd.Mode.KD ? 0 : 1);
    s.setAtIndex(JAVA_DOUBLE, 3, o.temperature());
    s.setAtIndex(JAVA_DOUBLE, 4, o.alpha());
    s.setAtIndex(JAVA_DOUBLE, 5, o.betaDkd());
    s.setAtIndex(JAVA_DOUBLE, 6, b.ceWeight());
    return s;
  }

  /** Statistics of rows; null if some number is not finite. */
  TeacherStatistics[] statistics(
      float[] logits, int rows, int vocab, int[] targets, double temperature) {
    double[] out = new double[STATISTICS * rows];
    boolean good = true;
    int step = pieces(vocab);
    for (int r = 0; r < rows; r += step) {
      good &=
          run(
              statistics,
              at(logits, (long) r * vocab),
              Math.min(step, rows - r),
              vocab,
              at(targets, r),
              temperature,
              at(out, (long) STATISTICS * r));
    }
    if (!good) {
      return null;
    }
    TeacherStatistics[] all = new TeacherStatistics[rows];
    for (int i = 0; i < rows; i++) {
      int at = STATISTICS * i;
      all[i] =
          new TeacherStatistics(
              out[at],
              out[at + 1],
              out[at + 2],
              out[at + 3],
              temperature,
              (int) out[at + 4],
              out[at + 5]);
    }
    return all;
  }

  TopK.Selection topK(float[] logits, int rows, int vocab, int k) {
    int[] ids = new int[rows * k];
    float[] values = new float[rows * k];
    int step = pieces(vocab);
    for (int r = 0; r < rows; r += step) {
      int n = Math.min(step, rows - r);
      long at = (long) r * k;
      run(topK, at(logits, (long) r * vocab), n, vocab, k, at(ids, at), at(values, at));
    }
    return new TopK.Selection(ids, values);
  }

  /** Bytes that {@link #gram} and {@link #rcka} get: at most the bound, but what they must have. */
  long rckaScratch(int n, int d, long bound) {
    long most = NativeLibrary.checked((long) NativeLibrary.call(rckaScratch, n, d));
    long least = NativeLibrary.checked((long) NativeLibrary.call(rckaLeast, n, d));
    return Math.max(least, Math.min(most, bound));
  }

  float[] gram(float[] v, int n, int d, MemorySegment space) {
    float[] out = new float[n * n];
    run(gram, all(v), n, d, all(out), space, space.byteSize());
    return out;
  }

  Rcka.Result rcka(float[] teacher, float[] v, int n, int d, MemorySegment space) {
    float[] dV = new float[v.length];
    double[] cka = new double[1];
    int skipped =
        code(
            rcka,
            all(teacher),
            all(v),
            n,
            d,
            Rcka.MIN_TOKENS,
            Rcka.MIN_SQUARES,
            all(cka),
            all(dV),
            space,
            space.byteSize());
    return new Rcka.Result(1 - cka[0], cka[0], dV, skipped == 1);
  }

  /** A gk_grouping of some of the rows. */
  private static MemorySegment grouping(int rows, int cols, QuantSpec spec) {
    return MemorySegment.ofArray(
        new int[] {spec.bits(), rows, cols, spec.segment(cols), spec.perTensor() ? 1 : 0});
  }

  private static MemorySegment scalesOf(float[] scales, int row, int cols, QuantSpec spec) {
    return at(scales, spec.perTensor() ? 0 : (long) row * (cols / spec.groupSize()));
  }

  /** A gk_adamw. */
  private static MemorySegment factors(AdamW.Factors f) {
    return all(
        new float[] {
          f.keep(), f.rate(), f.root(), f.b1(), f.b2(), f.rest1(), f.rest2(), f.eps(), f.gradScale()
        });
  }

  /** Rows of that width in one call. */
  private static int pieces(int width) {
    return (int) Math.max(1, PIECE / width);
  }

  private static MemorySegment all(float[] a) {
    return MemorySegment.ofArray(a);
  }

  private static MemorySegment all(double[] a) {
    return MemorySegment.ofArray(a);
  }

  private static MemorySegment at(float[] a, long index) {
    return MemorySegment.ofArray(a).asSlice(Float.BYTES * index);
  }

  private static MemorySegment at(double[] a, long index) {
    return MemorySegment.ofArray(a).asSlice(Double.BYTES * index);
  }

  private static MemorySegment at(int[] a, long index) {
    return MemorySegment.ofArray(a).asSlice(Integer.BYTES * index);
  }

  private boolean run(MethodHandle handle, Object... arguments) {
    return code(handle, arguments) != BAD_NUMBER;
  }

  private int code(MethodHandle handle, Object... arguments) {
    Object[] with = new Object[arguments.length + 2];
    with[0] = pool;
    with[1] = isa;
    System.arraycopy(arguments, 0, with, 2, arguments.length);
    int code = (int) NativeLibrary.call(handle, with);
    return code == BAD_NUMBER ? code : (int) NativeLibrary.checked(code);
  }
}
