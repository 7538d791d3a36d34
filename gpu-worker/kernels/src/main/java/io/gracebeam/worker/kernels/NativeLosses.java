package io.gracebeam.worker.kernels;

import static io.gracebeam.worker.kernels.NativeArrays.all;
import static io.gracebeam.worker.kernels.NativeArrays.at;
import static java.lang.foreign.MemorySegment.NULL;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Losses in C. */
final class NativeLosses implements LossKernels, AutoCloseable {
  private static final int STATISTICS = 6;
  private static final int LOSSES_BYTES = 56;

  private final NativeSession session;
  private final MethodHandle tokenLosses;
  private final MethodHandle statistics;
  private final MethodHandle topK;
  private final MethodHandle rckaScratch;
  private final MethodHandle rckaLeast;
  private final MethodHandle gram;
  private final MethodHandle rcka;
  private final ScratchBuffer similarities;

  NativeLosses(NativeSession session) {
    this.session = session;
    NativeLibrary library = session.library();
    this.similarities = new ScratchBuffer(library);
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

  @Override
  public TokenLosses.Result tokenLosses(TokenLosses.Batch batch, float[] d) {
    TokenLosses.Rows rows = batch.rows();
    double[] losses = new double[2 * rows.rows()];
    if (!tokenLosses(rows, all(batch.logits()), losses, all(d))) {
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
    if (!tokenLosses(rows, logits, losses, logits)) {
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

  /**
   * Losses [rows, 2] of logits [rows, vocab] on the heap or in native memory, and their gradient.
   *
   * @return whether all numbers were finite
   */
  private boolean tokenLosses(
      TokenLosses.Rows b, MemorySegment logits, double[] losses, MemorySegment d) {
    TeacherRows t = b.teacher();
    int k = t == null ? 0 : t.k();
    boolean listed = t != null && !t.isFull();
    double[] known = listed ? known(t) : null;
    int step = NativeArrays.rows(b.vocab());
    return session.locked(
        () -> {
          boolean good = true;
          for (int r = 0; r < b.rows(); r += step) {
            long at = (long) r * b.vocab();
            good &=
                session.run(
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
        });
  }

  private static double[] known(TeacherRows t) {
    double[] out = new double[3 * t.rows()];
    for (int i = 0; i < t.rows(); i++) {
      out[3 * i] = t.scalars().targetLogProb()[i];
      out[3 * i + 1] = t.scalars().logSumExp()[i];
      out[3 * i + 2] = t.scalars().nonTargetLogSumExp()[i];
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

  @Override
  public TeacherStatistics[] statistics(
      float[] logits, int rows, int vocab, int[] targets, double temperature) {
    double[] out = new double[STATISTICS * rows];
    int step = NativeArrays.rows(vocab);
    boolean finite =
        session.locked(
            () -> {
              boolean good = true;
              for (int r = 0; r < rows; r += step) {
                good &=
                    session.run(
                        statistics,
                        at(logits, (long) r * vocab),
                        Math.min(step, rows - r),
                        vocab,
                        at(targets, r),
                        temperature,
                        at(out, (long) STATISTICS * r));
              }
              return good;
            });
    if (!finite) {
      String where = "TeacherStatistics.ofRows";
      Checks.finite(where, "logits", logits, 0, logits.length);
      throw Checks.error(where, "a number is not finite, allowed are finite ones");
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

  @Override
  public TopK.Selection topK(float[] logits, int rows, int vocab, int k) {
    int[] ids = new int[rows * k];
    float[] values = new float[rows * k];
    int step = NativeArrays.rows(vocab);
    session.locking(
        () -> {
          for (int r = 0; r < rows; r += step) {
            int n = Math.min(step, rows - r);
            long to = (long) r * k;
            session.run(
                topK, at(logits, (long) r * vocab), n, vocab, k, at(ids, to), at(values, to));
          }
        });
    return new TopK.Selection(ids, values);
  }

  @Override
  public float[] gram(float[] v, int n, int d) {
    return gram(v, n, d, Rcka.MEMORY);
  }

  float[] gram(float[] v, int n, int d, long bytes) {
    float[] out = new float[n * n];
    session.locking(
        () -> {
          MemorySegment space = similarities(n, d, bytes);
          session.run(gram, all(v), n, d, all(out), space, space.byteSize());
        });
    return out;
  }

  @Override
  public Rcka.Result rcka(float[] teacher, float[] v, int n, int d, long bytes) {
    float[] dV = new float[v.length];
    double[] cka = new double[1];
    int skipped =
        session.locked(
            () -> {
              MemorySegment space = similarities(n, d, bytes);
              return session.code(
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
            });
    return new Rcka.Result(1 - cka[0], cka[0], dV, skipped == 1);
  }

  /** Scratch space for one image's similarities, not more than is asked for; under the lock. */
  private MemorySegment similarities(int n, int d, long bound) {
    long bytes = scratchBytes(n, d, bound);
    return similarities.atLeast(bytes).asSlice(0, bytes);
  }

  /** Bytes of scratch space: at most the bound, but at least what the functions must have. */
  long scratchBytes(int n, int d, long bound) {
    long most = NativeLibrary.checked((long) NativeLibrary.call(rckaScratch, n, d));
    long least = NativeLibrary.checked((long) NativeLibrary.call(rckaLeast, n, d));
    return Math.max(least, Math.min(most, bound));
  }

  @Override
  public void close() {
    similarities.close();
  }
}
