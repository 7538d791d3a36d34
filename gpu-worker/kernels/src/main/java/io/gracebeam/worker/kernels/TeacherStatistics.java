package io.gracebeam.worker.kernels;

/**
 * What one row of teacher logits says, in nats.
 *
 * @param entropy entropy of softmax(z) at temperature 1, in [0, ln vocab]
 * @param logSumExp ln sum exp(z) at temperature 1
 * @param targetLogProb log-probability of the target at temperature 1
 * @param nonTargetLogSumExp ln of the sum of exp(z / temperature) over all ids but the target
 * @param temperature the temperature of nonTargetLogSumExp
 * @param argmax id of the largest logit, the lowest id of equal ones
 * @param topProbability probability of argmax at temperature 1
 */
public record TeacherStatistics(
    double entropy,
    double logSumExp,
    double targetLogProb,
    double nonTargetLogSumExp,
    double temperature,
    int argmax,
    double topProbability) {

  /** Statistics with nonTargetLogSumExp at temperature 1. */
  public static TeacherStatistics of(float[] logits, int row, int vocab, int target) {
    return of(logits, row, vocab, target, 1.0);
  }

  /**
   * Statistics of all rows of {@code logits [rows, vocab]}.
   *
   * @param targets [rows], in [0, vocab)
   * @throws IllegalArgumentException on sizes that differ or a number that is not finite
   */
  public static TeacherStatistics[] ofRows(
      float[] logits, int rows, int vocab, int[] targets, double temperature) {
    String where = "TeacherStatistics.ofRows";
    Checks.notNegative(where, "rows", rows);
    GatedDkd.checkVocab(where, vocab);
    GatedDkd.checkTemperature(where, temperature);
    Checks.length(where, "logits", logits.length, Checks.product(where, rows, vocab));
    Checks.targets(where, targets, rows, vocab);
    return KernelProvider.best().losses().statistics(logits, rows, vocab, targets, temperature);
  }

  /** Statistics of row {@code row} of {@code logits [rows, vocab]}; vocab is at least 2. */
  public static TeacherStatistics of(
      float[] logits, int row, int vocab, int target, double temperature) {
    String where = "TeacherStatistics.of";
    GatedDkd.checkVocab(where, vocab);
    GatedDkd.checkTemperature(where, temperature);
    Checks.notNegative(where, "row", row);
    Checks.atLeast(where, "logits", logits.length, Checks.product(where, row + 1, vocab));
    if (target < 0 || target >= vocab) {
      throw Checks.error(where, "target is %d, allowed are 0 to %d", target, vocab - 1);
    }
    int base = row * vocab;
    Checks.finite(where, "logits", logits, base, base + vocab);
    int argmax = 0;
    for (int v = 1; v < vocab; v++) {
      if (logits[base + v] > logits[base + argmax]) {
        argmax = v;
      }
    }
    double max = logits[base + argmax];
    double sum = 0;
    double weighted = 0;
    for (int v = 0; v < vocab; v++) {
      double d = logits[base + v] - max;
      double e = Math.exp(d);
      sum += e;
      weighted += e * d;
    }
    double logSum = Math.log(sum);
    double entropy = Math.max(0, Math.min(Math.log(vocab), logSum - weighted / sum));
    return new TeacherStatistics(
        entropy,
        max + logSum,
        logits[base + target] - max - logSum,
        Softmax.logSumExpWithout(logits, base, vocab, target, temperature),
        temperature,
        argmax,
        1 / sum);
  }
}
