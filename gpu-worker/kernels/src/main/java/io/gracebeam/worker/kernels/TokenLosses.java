package io.gracebeam.worker.kernels;

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
      Checks.notNegative(WHERE, "rows", rows);
      GatedDkd.checkVocab(WHERE, vocab);
      Checks.length(WHERE, "logits", logits.length, Checks.product(WHERE, rows, vocab));
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
   * @throws IllegalArgumentException if a logit is not finite; what d holds is then open
   */
  public static Result apply(Batch batch, float[] d) {
    Checks.length(WHERE, "d", d.length, batch.logits().length);
    return KernelProvider.best().tokenLosses(batch, d);
  }

  /** In plain Java. */
  static Result java(Batch b, float[] d) {
    checkLogits(b);
    double[] ce = new double[b.rows()];
    double[] distillation = new double[b.rows()];
    boolean inPlace = d == b.logits();
    Parallel.run(
        Parallel.shared(),
        d.length > 1 << 13,
        b.rows(),
        i -> {
          int at = i * b.vocab();
          float[] z =
              inPlace ? java.util.Arrays.copyOfRange(b.logits(), at, at + b.vocab()) : b.logits();
          int from = inPlace ? 0 : at;
          if (b.teacher() == null) {
            java.util.Arrays.fill(d, at, at + b.vocab(), 0f);
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
