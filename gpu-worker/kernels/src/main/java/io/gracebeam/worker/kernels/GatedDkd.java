package io.gracebeam.worker.kernels;

/**
 * Gated decoupled distillation (GRACE, arXiv 2601.22709, section 3; DKD, arXiv 2203.08679) with its
 * gradient in closed form.
 *
 * <p>Per position, with p student and q teacher at temperature T and the target y: TCKD is the
 * binary KL of (q_y, 1 - q_y) from (p_y, 1 - p_y), NCKD the KL between the distributions over the
 * other ids, and the loss is T^2 (alpha TCKD + betaDkd NCKD); plain distillation is T^2 KL(q || p)
 * = T^2 (TCKD + (1 - q_y) NCKD). The gate is exp(-H / ln vocab) with the teacher's entropy H at
 * temperature 1; the total is the gate-weighted mean. Logarithms are natural, sums are in double
 * precision, and 1 - p_y comes from the log-sum-exp without the target, so nothing is clamped.
 */
public final class GatedDkd {
  private static final String WHERE = "GatedDkd";

  private GatedDkd() {}

  /** Plain (forward KL) or decoupled distillation. */
  public enum Mode {
    KD,
    DKD
  }

  /**
   * Settings of the loss.
   *
   * @param mode plain or decoupled
   * @param gate whether positions are weighted by the teacher's confidence; if not, all weigh the
   *     same
   * @param temperature T, above 0
   * @param alpha weight of TCKD (Mode.DKD only)
   * @param betaDkd weight of NCKD (Mode.DKD only)
   */
  public record Options(Mode mode, boolean gate, double temperature, double alpha, double betaDkd) {
    /** Validates. */
    public Options {
      if (mode == null) {
        throw Checks.error(WHERE, "mode is null, allowed are KD and DKD");
      }
      checkTemperature(WHERE, temperature);
      if (!(alpha >= 0 && alpha < 1e9) || !(betaDkd >= 0 && betaDkd < 1e9)) {
        throw Checks.error(
            WHERE,
            "alpha is %s and betaDkd %s, allowed are finite numbers of at least 0",
            alpha,
            betaDkd);
      }
    }

    /** Decoupled with gate, T = 2, alpha = 1, betaDkd = 4. */
    public static Options grace() {
      return new Options(Mode.DKD, true, 2, 1, 4);
    }
  }

  /**
   * Value and gradient.
   *
   * @param loss gate-weighted mean of perToken; 0 without rows
   * @param perToken loss of each position before the gate, [rows]
   * @param gates gate of each position, [rows]; all 1 when the gate is off
   * @param dLogits gradient of the loss with respect to the student's logits, [rows, vocab]
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Result(double loss, double[] perToken, double[] gates, float[] dLogits) {}

  /**
   * Loss of student logits {@code [rows, vocab]} against the teacher.
   *
   * @throws IllegalArgumentException on sizes that differ, a target outside the vocabulary, a
   *     number that is not finite, or teacher scalars of another temperature
   */
  public static Result apply(
      float[] logits, int rows, int vocab, TeacherRows teacher, int[] targets, Options options) {
    Checks.notNegative(WHERE, "rows", rows);
    checkVocab(WHERE, vocab);
    checkTeacher(WHERE, teacher, rows, vocab, options);
    Checks.length(WHERE, "logits", logits.length, Checks.product(WHERE, rows, vocab));
    Checks.targets(WHERE, targets, rows, vocab);
    Checks.finite(WHERE, "logits", logits, 0, logits.length);
    teacher.checkFinite();

    double[] gates = new double[rows];
    boolean worth = logits.length > 1 << 13;
    Parallel.run(
        Parallel.shared(),
        worth,
        rows,
        i -> gates[i] = options.gate() ? gate(entropy(teacher, i, targets[i]), vocab) : 1);
    double total = 0;
    for (double g : gates) {
      total += g;
    }
    double norm = total;
    double[] perToken = new double[rows];
    float[] d = new float[logits.length];
    Parallel.run(
        Parallel.shared(),
        worth,
        rows,
        i ->
            perToken[i] =
                new DkdRow(logits, i * vocab, teacher, i, targets[i])
                    .loss(options, gates[i] / norm, d));
    double loss = 0;
    for (int i = 0; i < rows; i++) {
      loss += gates[i] * perToken[i];
    }
    return new Result(rows == 0 ? 0 : loss / total, perToken, gates, d);
  }

  /** Confidence gate exp(-entropy / ln vocab), in [1/e, 1]; entropy in nats at temperature 1. */
  public static double gate(double entropy, int vocab) {
    checkVocab(WHERE, vocab);
    if (Double.isNaN(entropy)) {
      throw Checks.error(WHERE, "entropy is NaN, allowed are 0 to ln(vocab)");
    }
    return Math.exp(-Math.max(0, Math.min(1, entropy / Math.log(vocab))));
  }

  static void checkVocab(String where, int vocab) {
    if (vocab < 2) {
      throw Checks.error(where, "vocab is %d, allowed are values of at least 2", vocab);
    }
  }

  static void checkTeacher(
      String where, TeacherRows teacher, int rows, int vocab, Options options) {
    if (teacher.rows() != rows || teacher.vocab() != vocab) {
      throw Checks.error(
          where,
          "teacher is [%d, %d], allowed is [%d, %d]",
          teacher.rows(),
          teacher.vocab(),
          rows,
          vocab);
    }
    if (!teacher.isFull() && teacher.scalars().temperature() != options.temperature()) {
      throw Checks.error(
          where,
          "temperature is %s, allowed is the %s of the teacher's top-k rows",
          options.temperature(),
          teacher.scalars().temperature());
    }
  }

  static void checkTemperature(String where, double t) {
    if (!(t >= 1e-3 && t <= 1e3)) {
      throw Checks.error(where, "temperature is %s, allowed are 0.001 to 1000", t);
    }
  }

  private static double entropy(TeacherRows teacher, int i, int target) {
    return teacher.isFull()
        ? TeacherStatistics.of(teacher.values(), teacher.first() + i, teacher.vocab(), target)
            .entropy()
        : teacher.scalars().entropy()[i];
  }
}
