package io.gracebeam.worker.kernels;

/**
 * Teacher knowledge for {@code rows} supervised positions: all logits, or the k largest with exact
 * scalars for the rest. The target of each row belongs to it, since the scalars depend on it. In
 * the top-k form entropy, target probability and the mass of the non-targets are exact, and the ids
 * that are neither listed nor the target form one bucket of known total mass.
 */
public final class TeacherRows {
  private static final String WHERE = "TeacherRows";
  private final int first;
  private final int rows;
  private final int vocab;
  private final int k;
  private final double temperature;
  private final float[] logits;
  private final int[] ids;
  private final double[] entropy;
  private final double[] targetLogProb;
  private final double[] logSumExp;
  private final double[] nonTargetLogSumExp;

  private TeacherRows(
      int first,
      int rows,
      int vocab,
      int k,
      double temperature,
      float[] logits,
      int[] ids,
      double[] entropy,
      double[] targetLogProb,
      double[] logSumExp,
      double[] nonTargetLogSumExp) {
    this.first = first;
    this.rows = rows;
    this.vocab = vocab;
    this.k = k;
    this.temperature = temperature;
    this.logits = logits;
    this.ids = ids;
    this.entropy = entropy;
    this.targetLogProb = targetLogProb;
    this.logSumExp = logSumExp;
    this.nonTargetLogSumExp = nonTargetLogSumExp;
  }

  /**
   * All logits {@code [rows, vocab]}, at any temperature. Arrays are not copied, and whether the
   * logits are finite is found by what reads them.
   */
  public static TeacherRows full(float[] logits, int rows, int vocab) {
    Checks.notNegative(WHERE, "rows", rows);
    GatedDkd.checkVocab(WHERE, vocab);
    Checks.length(WHERE, "logits", logits.length, Checks.product(WHERE, rows, vocab));
    return full(logits, 0, rows, vocab);
  }

  /** Some rows, from the first on, of logits {@code [at least first + rows, vocab]}. */
  public static TeacherRows full(float[] logits, int first, int rows, int vocab) {
    Checks.notNegative(WHERE, "first", first);
    Checks.notNegative(WHERE, "rows", rows);
    GatedDkd.checkVocab(WHERE, vocab);
    int end = Checks.product(WHERE, Math.addExact(first, rows), vocab);
    Checks.atLeast(WHERE, "logits", logits.length, end);
    return new TeacherRows(first, rows, vocab, vocab, 0, logits, null, null, null, null, null);
  }

  /**
   * The top-k form. Arrays are not copied.
   *
   * @param ids distinct ids of the k largest logits, [rows, k], in any order; the target may be
   *     among them
   * @param values their raw logits (not divided by the temperature), [rows, k]
   * @param temperature the temperature that the loss will use
   * @param entropy entropy at temperature 1, [rows], nats
   * @param targetLogProb log-probability of the target at temperature 1, [rows]
   * @param logSumExp ln sum exp(z) at temperature 1, [rows]
   * @param nonTargetLogSumExp ln of the sum over the non-targets of exp(z / temperature), [rows]
   */
  public static TeacherRows topK(
      int rows,
      int vocab,
      int k,
      int[] ids,
      float[] values,
      double temperature,
      double[] entropy,
      double[] targetLogProb,
      double[] logSumExp,
      double[] nonTargetLogSumExp) {
    Checks.notNegative(WHERE, "rows", rows);
    GatedDkd.checkVocab(WHERE, vocab);
    GatedDkd.checkTemperature(WHERE, temperature);
    if (k < 1 || k > vocab) {
      throw Checks.error(WHERE, "k is %d, allowed are 1 to %d", k, vocab);
    }
    int n = Checks.product(WHERE, rows, k);
    Checks.length(WHERE, "ids", ids.length, n);
    Checks.length(WHERE, "values", values.length, n);
    Checks.finite(WHERE, "values", values, 0, n);
    Checks.length(WHERE, "entropy", entropy.length, rows);
    Checks.length(WHERE, "targetLogProb", targetLogProb.length, rows);
    Checks.length(WHERE, "logSumExp", logSumExp.length, rows);
    Checks.length(WHERE, "nonTargetLogSumExp", nonTargetLogSumExp.length, rows);
    double most = Math.log(vocab) + 1e-3;
    for (int i = 0; i < rows; i++) {
      if (!(entropy[i] >= -1e-6 && entropy[i] <= most)) {
        throw Checks.error(WHERE, "entropy[%d] is %s, allowed are 0 to ln(vocab)", i, entropy[i]);
      }
      if (!(targetLogProb[i] <= 1e-6) || Double.isInfinite(targetLogProb[i])) {
        throw Checks.error(
            WHERE,
            "targetLogProb[%d] is %s, allowed are finite numbers up to 0",
            i,
            targetLogProb[i]);
      }
      Checks.finite(WHERE, "logSumExp[" + i + "]", logSumExp[i]);
      Checks.finite(WHERE, "nonTargetLogSumExp[" + i + "]", nonTargetLogSumExp[i]);
      int[] row = java.util.Arrays.copyOfRange(ids, i * k, (i + 1) * k);
      java.util.Arrays.sort(row);
      for (int j = 0; j < k; j++) {
        if (row[j] < 0 || row[j] >= vocab || (j > 0 && row[j] == row[j - 1])) {
          throw Checks.error(
              WHERE, "row %d lists id %d, allowed are distinct ids 0 to %d", i, row[j], vocab - 1);
        }
      }
    }
    return new TeacherRows(
        0,
        rows,
        vocab,
        k,
        temperature,
        values,
        ids,
        entropy,
        targetLogProb,
        logSumExp,
        nonTargetLogSumExp);
  }

  /** Reduces full logits {@code [rows, vocab]} to the top-k form. */
  public static TeacherRows compress(
      float[] logits, int rows, int vocab, int[] targets, int k, double temperature) {
    full(logits, rows, vocab).checkFinite();
    Checks.targets(WHERE, targets, rows, vocab);
    int[] ids = new int[Checks.product(WHERE, rows, k)];
    float[] values = new float[ids.length];
    double[][] s = new double[4][rows];
    for (int i = 0; i < rows; i++) {
      TopK.Selection top = TopK.select(logits, i, vocab, k);
      System.arraycopy(top.ids(), 0, ids, i * k, k);
      System.arraycopy(top.values(), 0, values, i * k, k);
      TeacherStatistics t = TeacherStatistics.of(logits, i, vocab, targets[i], temperature);
      s[0][i] = t.entropy();
      s[1][i] = t.targetLogProb();
      s[2][i] = t.logSumExp();
      s[3][i] = t.nonTargetLogSumExp();
    }
    return topK(rows, vocab, k, ids, values, temperature, s[0], s[1], s[2], s[3]);
  }

  /** Names the first of all the logits that is not finite; other forms were checked when made. */
  void checkFinite() {
    if (isFull()) {
      Checks.finite(WHERE, "logits", logits, first * vocab, (first + rows) * vocab);
    }
  }

  /** Number of positions. */
  public int rows() {
    return rows;
  }

  /** Size of the logit axis. */
  public int vocab() {
    return vocab;
  }

  /** Listed ids per row; vocab in the full form. */
  public int k() {
    return k;
  }

  /** Whether all logits are here. */
  public boolean isFull() {
    return ids == null;
  }

  /** Temperature of the scalars; 0 in the full form, which serves any. */
  public double temperature() {
    return temperature;
  }

  /** Row of {@link #values} that is the first of these. */
  public int first() {
    return first;
  }

  /** Logits [at least first + rows, k] as given. */
  public float[] values() {
    return logits;
  }

  /** Ids [rows, k]; null in the full form. */
  public int[] ids() {
    return ids;
  }

  /** Entropies at temperature 1, [rows]; null in the full form. */
  public double[] entropies() {
    return entropy;
  }

  /** Target log-probabilities at temperature 1, [rows]; null in the full form. */
  public double[] targetLogProbs() {
    return targetLogProb;
  }

  /** ln sum exp(z) at temperature 1, [rows]; null in the full form. */
  public double[] logSumExps() {
    return logSumExp;
  }

  /** ln of the non-targets' sum at {@link #temperature}, [rows]; null in the full form. */
  public double[] nonTargetLogSumExps() {
    return nonTargetLogSumExp;
  }
}
