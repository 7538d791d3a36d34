package io.gracebeam.worker.kernels;

/** Cross-entropy of softmax(logits) with hard targets, with gradient. */
public final class CrossEntropy {
  private CrossEntropy() {}

  /**
   * Value and gradient.
   *
   * @param loss mean of perToken in nats; 0 without rows
   * @param perToken -ln softmax(logits)[target] of each row, [rows]
   * @param dLogits gradient of loss, [rows, vocab]
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Result(double loss, double[] perToken, float[] dLogits) {}

  /** Loss of logits {@code [rows, vocab]}; targets [rows] lie in [0, vocab). */
  public static Result apply(float[] logits, int rows, int vocab, int[] targets) {
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
          int base = i * vocab;
          int y = base + targets[i];
          double rest = Softmax.logSumExpWithout(logits, base, vocab, targets[i], 1);
          double all = Softmax.logAdd(logits[y], rest);
          perToken[i] = all - logits[y];
          for (int v = base; v < base + vocab; v++) {
            d[v] = (float) (Math.exp(logits[v] - all) / rows);
          }
          d[y] = (float) (-Math.exp(rest - all) / rows);
        });
    double loss = 0;
    for (double l : perToken) {
      loss += l;
    }
    return new Result(rows == 0 ? 0 : loss / rows, perToken, d);
  }
}
