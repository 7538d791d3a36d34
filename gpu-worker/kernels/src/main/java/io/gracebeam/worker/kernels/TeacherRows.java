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
  private final float[] logits;
  private final int[] ids;
  private final Scalars scalars;

  private TeacherRows(
      int first, int rows, int vocab, int k, float[] logits, int[] ids, Scalars scalars) {
    this.first = first;
    this.rows = rows;
    this.vocab = vocab;
    this.k = k;
    this.logits = logits;
    this.ids = ids;
    this.scalars = scalars;
  }

  /**
   * What is known exactly of rows whose logits are not all kept; in nats.
   *
   * @param temperature the temperature that the loss will use
   * @param entropy entropy at temperature 1, [rows]
   * @param targetLogProb log-probability of the target at temperature 1, [rows]
   * @param logSumExp ln sum exp(z) at temperature 1, [rows]
   * @param nonTargetLogSumExp ln of the sum over the non-targets of exp(z / temperature), [rows]
   */
  @SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
  public record Scalars(
      double temperature,
      double[] entropy,
      double[] targetLogProb,
      double[] logSumExp,
      double[] nonTargetLogSumExp) {}

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
    return new TeacherRows(first, rows, vocab, vocab, logits, null, null);
  }

  /**
   * The top-k form. Arrays are not copied.
   *
   * @param listed distinct ids of the k largest logits and their raw logits (not divided by the
   *     temperature), [rows, k], in any order; the target may be among them
   */
  public static TeacherRows topK(
      int rows, int vocab, int k, TopK.Selection listed, Scalars scalars) {
    Checks.notNegative(WHERE, "rows", rows);
    GatedDkd.checkVocab(WHERE, vocab);
    GatedDkd.checkTemperature(WHERE, scalars.temperature);
    if (k < 1 || k > vocab) {
      throw Checks.error(WHERE, "k is %d, allowed are 1 to %d", k, vocab);
    }
    int n = Checks.product(WHERE, rows, k);
    int[] ids = listed.ids();
    float[] values = listed.values();
    Checks.length(WHERE, "ids", ids.length, n);
    Checks.length(WHERE, "values", values.length, n);
    Checks.finite(WHERE, "values", values, 0, n);
    Checks.length(WHERE, "entropy", scalars.entropy.length, rows);
    Checks.length(WHERE, "targetLogProb", scalars.targetLogProb.length, rows);
    Checks.length(WHERE, "logSumExp", scalars.logSumExp.length, rows);
    Checks.length(WHERE, "nonTargetLogSumExp", scalars.nonTargetLogSumExp.length, rows);
    double[] entropy = scalars.entropy;
    double[] targetLogProb = scalars.targetLogProb;
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
      Checks.finite(WHERE, "logSumExp[" + i + "]", scalars.logSumExp[i]);
      Checks.finite(WHERE, "nonTargetLogSumExp[" + i + "]", scalars.nonTargetLogSumExp[i]);
      int[] row = java.util.Arrays.copyOfRange(ids, i * k, (i + 1) * k);
      java.util.Arrays.sort(row);
      for (int j = 0; j < k; j++) {
        if (row[j] < 0 || row[j] >= vocab || (j > 0 && row[j] == row[j - 1])) {
          throw Checks.error(
              WHERE, "row %d lists id %d, allowed are distinct ids 0 to %d", i, row[j], vocab - 1);
        }
      }
    }
    return new TeacherRows(0, rows, vocab, k, values, ids, scalars);
  }

  /** Reduces full logits {@code [rows, vocab]} to the top-k form. */
  public static TeacherRows compress(
      float[] logits, int rows, int vocab, int[] targets, int k, double temperature) {
    full(logits, rows, vocab).checkFinite();
    Checks.targets(WHERE, targets, rows, vocab);
    int n = Checks.product(WHERE, rows, k);
    TopK.Selection listed = new TopK.Selection(new int[n], new float[n]);
    double[][] s = new double[4][rows];
    for (int i = 0; i < rows; i++) {
      TopK.Selection top = TopK.select(logits, i, vocab, k);
      System.arraycopy(top.ids(), 0, listed.ids(), i * k, k);
      System.arraycopy(top.values(), 0, listed.values(), i * k, k);
      TeacherStatistics t = TeacherStatistics.of(logits, i, vocab, targets[i], temperature);
      s[0][i] = t.entropy();
      s[1][i] = t.targetLogProb();
      s[2][i] = t.logSumExp();
      s[3][i] = t.nonTargetLogSumExp();
    }
    return topK(rows, vocab, k, listed, new Scalars(temperature, s[0], s[1], s[2], s[3]));
  }

  /**
   * Refuses full logits that are not finite, by the first of them; listed ones are checked above.
   */
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

  /**
   * What is known beside the listed logits; null in the full form, which serves any temperature.
   */
  public Scalars scalars() {
    return scalars;
  }
}
