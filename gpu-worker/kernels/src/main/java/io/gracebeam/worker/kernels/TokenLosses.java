package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Cross-entropy and distillation of supervised positions in one pass, with their common gradient.
 * Rows are independent, so a batch may come in chunks of rows.
 */
public final class TokenLosses {
  private static final String WHERE = "TokenLosses";

  private TokenLosses() {}

  /**
   * What the losses depend on. Arrays are not copied.
   *
   * @param logits of the student, [rows, vocab], finite
   * @param targets [rows], in [0, vocab)
   * @param ceWeight of each row's cross-entropy, for example 1 / rows
   * @param teacher null for cross-entropy alone
   * @param weights of each row's distillation, for example gate / sum of gates, [rows]; null
   *     without a teacher
   * @param options of the distillation; their gate is not used, it is part of the weights; null
   *     without a teacher
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Batch(
      float[] logits,
      int rows,
      int vocab,
      int[] targets,
      double ceWeight,
      TeacherRows teacher,
      double[] weights,
      GatedDkd.Options options) {
    /** Validates all but the logits' values. */
    public Batch {
      new Rows(rows, vocab, targets, ceWeight, teacher, weights, options);
      Checks.length(WHERE, "logits", logits.length, Checks.product(WHERE, rows, vocab));
    }

    Rows withoutLogits() {
      return new Rows(rows, vocab, targets, ceWeight, teacher, weights, options);
    }
  }

  /** A {@link Batch} whose logits lie elsewhere. */
  @SuppressWarnings("ArrayRecordComponent")
  public record Rows(
      int rows,
      int vocab,
      int[] targets,
      double ceWeight,
      TeacherRows teacher,
      double[] weights,
      GatedDkd.Options options) {
    /** Validates. */
    public Rows {
      Checks.notNegative(WHERE, "rows", rows);
      GatedDkd.checkVocab(WHERE, vocab);
      Checks.product(WHERE, rows, vocab);
      Checks.targets(WHERE, targets, rows, vocab);
      Checks.finite(WHERE, "ceWeight", ceWeight);
      if (teacher != null) {
        GatedDkd.checkTeacher(WHERE, teacher, rows, vocab, options);
        Checks.length(WHERE, "weights", weights.length, rows);
        for (int i = 0; i < rows; i++) {
          Checks.finite(WHERE, "weights[" + i + "]", weights[i]);
        }
      }
    }
  }

  /**
   * Losses before their weights, in nats.
   *
   * @param ce cross-entropy of each row, [rows]
   * @param distillation T^2 times the divergence of each row, [rows]; zeros without a teacher
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Result(double[] ce, double[] distillation) {}

  /**
   * Writes the gradient of sum over rows of ceWeight * ce + weights * distillation to {@code d
   * [rows, vocab]}, which may be the logits themselves.
   *
   * @throws IllegalArgumentException if a logit is not finite, the teacher's included; what d holds
   *     is then open
   */
  public static Result apply(Batch batch, float[] d) {
    Checks.length(WHERE, "d", d.length, batch.logits().length);
    return KernelProvider.best().tokenLosses(batch, d);
  }

  /**
   * The same where the logits lie, on the heap or in native memory.
   *
   * @param logits [rows, vocab] floats, row-major; becomes the gradient. A row with a logit that is
   *     not finite has losses of NaN, and its part of the gradient is open.
   * @throws IllegalArgumentException if the memory has another size, or a logit of the teacher is
   *     not finite
   */
  public static Result applyInPlace(MemorySegment logits, Rows rows) {
    long bytes = (long) Float.BYTES * rows.rows() * rows.vocab();
    if (logits.byteSize() != bytes) {
      throw Checks.error(WHERE, "logits have %d bytes, allowed are %d", logits.byteSize(), bytes);
    }
    return KernelProvider.best().tokenLosses(rows, logits);
  }

  /** In plain Java, on copies. */
  static Result java(Rows r, MemorySegment logits) {
    float[] z = logits.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
    boolean[] bad = new boolean[r.rows()];
    for (int i = 0; i < bad.length; i++) {
      float sum = 0;
      for (int j = i * r.vocab(); j < (i + 1) * r.vocab(); j++) {
        sum += z[j] * 0f;
      }
      bad[i] = sum != 0; // NaN
      if (bad[i]) {
        Arrays.fill(z, i * r.vocab(), (i + 1) * r.vocab(), 0f);
      }
    }
    Result out =
        java(
            new Batch(
                z,
                r.rows(),
                r.vocab(),
                r.targets(),
                r.ceWeight(),
                r.teacher(),
                r.weights(),
                r.options()),
            z);
    for (int i = 0; i < bad.length; i++) {
      if (bad[i]) {
        out.ce()[i] = Double.NaN;
        out.distillation()[i] = Double.NaN;
      }
    }
    MemorySegment.copy(z, 0, logits, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, z.length);
    return out;
  }

  /** In plain Java. */
  static Result java(Batch b, float[] d) {
    checkLogits(b);
    if (b.teacher() != null) {
      b.teacher().checkFinite();
    }
    double[] ce = new double[b.rows()];
    double[] distillation = new double[b.rows()];
    boolean inPlace = d == b.logits();
    Parallel.run(
        Parallel.shared(),
        d.length > 1 << 13,
        b.rows(),
        i -> {
          int at = i * b.vocab();
          float[] z = inPlace ? Arrays.copyOfRange(b.logits(), at, at + b.vocab()) : b.logits();
          int from = inPlace ? 0 : at;
          if (b.teacher() == null) {
            Arrays.fill(d, at, at + b.vocab(), 0f);
          } else {
            distillation[i] =
                GatedDkd.row(
                    z, from, i, b.teacher(), b.targets()[i], b.options(), b.weights()[i], d);
          }
          ce[i] = CrossEntropy.row(z, from, b.vocab(), b.targets()[i], b.ceWeight(), d, at);
        });
    return new Result(ce, distillation);
  }

  static void checkLogits(Batch b) {
    Checks.finite(WHERE, "logits", b.logits(), 0, b.logits().length);
  }
}
