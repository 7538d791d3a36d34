package io.gracebeam.worker.kernels;

/** Cross-entropy of softmax(logits) with hard targets, with gradient. */
final class CrossEntropy {
  private CrossEntropy() {}

  /**
   * Value and gradient.
   *
   * @param loss mean of perToken in nats; 0 without rows
   * @param perToken -ln softmax(logits)[target] of each row, [rows]
   * @param dLogits gradient of loss, [rows, vocab]
   */
  @SuppressWarnings("ArrayRecordComponent")
  record Result(double loss, double[] perToken, float[] dLogits) {}

  /** Loss of logits {@code [rows, vocab]}; targets [rows] lie in [0, vocab). */
  static Result apply(float[] logits, int rows, int vocab, int[] targets) {
    String where = "CrossEntropy";
    Checks.notNegative(where, "rows", rows);
    GatedDkd.checkVocab(where, vocab);
    Checks.length(where, "logits", logits.length, Checks.product(where, rows, vocab));
    Checks.targets(where, targets, rows, vocab);
    Checks.finite(where, "logits", logits, 0, logits.length);
    double[] perToken = new double[rows];
    float[] d = new float[logits.length];
    Parallel.run(
        Parallel.shared(),
        logits.length > 1 << 13,
        rows,
        i -> {
          perToken[i] = row(logits, i * vocab, vocab, targets[i], 1.0 / rows, d, i * vocab);
        });
    double loss = 0;
    for (double l : perToken) {
      loss += l;
    }
    return new Result(rows == 0 ? 0 : loss / rows, perToken, d);
  }

  /** Loss of the row from z[from]; adds its gradient times weight to that from d[at]. */
  static double row(float[] z, int from, int vocab, int target, double weight, float[] d, int at) {
    double own = z[from + target];
    double rest = Softmax.logSumExpWithout(z, from, vocab, target, 1);
    double all = Softmax.logAdd(own, rest);
    for (int v = 0; v < vocab; v++) {
      if (v != target) {
        d[at + v] += (float) (Math.exp(z[from + v] - all) * weight);
      }
    }
    d[at + target] += (float) (-Math.exp(rest - all) * weight);
    return all - own;
  }
}
