package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * Cross-entropy and distillation of supervised positions in one pass, with their common gradient.
 * Rows are independent, so a batch may come in chunks of rows.
 */
public final class TokenLosses {
  private static final String WHERE = "TokenLosses";

  private TokenLosses() {}

  /**
   * Logits and what else the losses depend on. Arrays are not copied.
   *
   * @param logits of the student, [rows, vocab], finite
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Batch(float[] logits, Rows rows) {
    /** Validates all but the logits' values. */
    public Batch {
      Checks.length(
          WHERE, "logits", logits.length, Checks.product(WHERE, rows.rows(), rows.vocab()));
    }
  }

  /**
   * What the losses depend on beside the logits. Arrays are not copied.
   *
   * @param targets [rows], in [0, vocab)
   * @param ceWeight of each row's cross-entropy, for example 1 / rows
   * @param teacher null for cross-entropy alone
   * @param weights of each row's distillation, for example gate / sum of gates, [rows]; null
   *     without a teacher
   * @param options of the distillation; their gate is not used, it is part of the weights; null
   *     without a teacher
   */
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
   * @throws IllegalArgumentException if a logit is not finite, the teacher's included; d then holds
   *     undefined values
   */
  public static Result apply(Batch batch, float[] d) {
    Checks.length(WHERE, "d", d.length, batch.logits().length);
    return KernelProvider.best().losses().tokenLosses(batch, d);
  }

  /**
   * Overwrites the logits with that gradient, on the heap or in native memory.
   *
   * @param logits [rows, vocab] floats, row-major; becomes the gradient. A row with a logit that is
   *     not finite has losses of NaN, and its part of the gradient is undefined.
   * @throws IllegalArgumentException if the memory has another size, or a logit of the teacher is
   *     not finite
   */
  public static Result applyInPlace(MemorySegment logits, Rows rows) {
    long bytes = (long) Float.BYTES * rows.rows() * rows.vocab();
    if (logits.byteSize() != bytes) {
      throw Checks.error(WHERE, "logits have %d bytes, allowed are %d", logits.byteSize(), bytes);
    }
    return KernelProvider.best().losses().tokenLosses(rows, logits);
  }

  static void checkLogits(Batch b) {
    Checks.finite(WHERE, "logits", b.logits(), 0, b.logits().length);
  }
}
