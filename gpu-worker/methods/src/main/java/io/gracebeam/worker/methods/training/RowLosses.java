package io.gracebeam.worker.methods.training;

import io.gracebeam.worker.kernels.GatedDkd;
import io.gracebeam.worker.kernels.TeacherRows;
import io.gracebeam.worker.kernels.TokenLosses;
import io.gracebeam.worker.kernels.TopK;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/**
 * CE and GDKD of a micro-batch's supervised tokens, computed for ranges of its rows in ascending
 * order. A row's loss and gradient depend on its logits alone, and sums go row by row, so how the
 * rows are cut changes no bit.
 */
final class RowLosses {
  /** An example's targets and, if it is distilled, its teacher's signals. */
  @SuppressWarnings("ArrayRecordComponent")
  record Source(int[] targets, Signals signals) {}

  private final List<Source> sources;
  private final int[] targets;
  private final int vocab;
  private final double ceWeight;
  private final double[] shares;
  private final double[] weights;
  private final GatedDkd.Options options;
  private final SignalForm shape;
  private double ce;
  private double gdkd;

  /**
   * Losses of rows that lie one example behind the other.
   *
   * @param ceWeight of each row's cross-entropy
   * @param shares of each row in GDKD, before beta; null without a teacher
   * @param options null without a teacher
   * @param shape of the teacher's signals; null without a teacher
   */
  RowLosses(
      List<Source> sources,
      int vocab,
      double ceWeight,
      double[] shares,
      double beta,
      GatedDkd.Options options,
      SignalForm shape) {
    this.sources = sources;
    this.targets = sources.stream().flatMapToInt(s -> Arrays.stream(s.targets())).toArray();
    this.vocab = vocab;
    this.ceWeight = ceWeight;
    this.shares = shares;
    this.weights = shares == null ? null : Arrays.stream(shares).map(s -> s * beta).toArray();
    this.options = options;
    this.shape = shape;
  }

  int rows() {
    return targets.length;
  }

  /**
   * Adds the losses of some rows.
   *
   * @param logits [count, vocab] floats; become the gradient of CE + beta GDKD with respect to
   *     them. Where one is not finite, so are the sums.
   */
  void apply(MemorySegment logits, int first, int count) {
    if (options == null) {
      add(logits, first, count, null);
    } else if (shape.rows() == SignalForm.Rows.TOP_K) {
      add(logits, first, count, listed(first, count));
    } else {
      // Example by example, since all of the teacher's logits are too many to be copied.
      long row = (long) vocab * Float.BYTES;
      overlaps(
          first,
          count,
          (source, own, at, n) ->
              add(
                  logits.asSlice(at * row, n * row),
                  first + at,
                  n,
                  TeacherRows.full(source.signals().logits(), own, n, shape.vocab())));
    }
  }

  private void add(MemorySegment logits, int first, int count, TeacherRows teacher) {
    TokenLosses.Result found =
        TokenLosses.applyInPlace(
            logits,
            new TokenLosses.Rows(
                count,
                vocab,
                Arrays.copyOfRange(targets, first, first + count),
                ceWeight,
                teacher,
                teacher == null ? null : Arrays.copyOfRange(weights, first, first + count),
                options));
    for (int i = 0; i < count; i++) {
      ce += found.ce()[i];
      gdkd += shares == null ? 0 : shares[first + i] * found.distillation()[i];
    }
  }

  /** Rows of an example: from its row own on, which are the range's from {@code at} on. */
  @FunctionalInterface
  private interface Overlap {
    void accept(Source source, int own, int at, int count);
  }

  /** Cuts a range of rows where examples end. */
  private void overlaps(int first, int count, Overlap body) {
    int start = 0;
    for (Source s : sources) {
      int from = Math.max(first, start);
      int to = Math.min(first + count, start + s.targets().length);
      if (from < to) {
        body.accept(s, from - start, from - first, to - from);
      }
      start += s.targets().length;
    }
  }

  /** All rows at once; the logits [rows, vocab] become their gradient. */
  float[] apply(float[] logits) {
    apply(MemorySegment.ofArray(logits), 0, rows());
    return logits;
  }

  /** Adds what was summed up. */
  void addTo(Losses.Total total) {
    total.ce += ce * ceWeight;
    total.gdkd += gdkd;
  }

  private TeacherRows listed(int first, int count) {
    int k = shape.k();
    float[] values = new float[Math.multiplyExact(count, k)];
    int[] ids = new int[values.length];
    double[][] known = new double[4][count];
    overlaps(
        first,
        count,
        (source, own, at, n) -> {
          Signals t = source.signals();
          System.arraycopy(t.logits(), own * k, values, at * k, n * k);
          System.arraycopy(t.ids(), own * k, ids, at * k, n * k);
          for (int i = 0; i < n; i++) {
            known[0][at + i] = t.statistics().entropy()[own + i];
            known[1][at + i] = t.statistics().targetLogProb()[own + i];
            known[2][at + i] = t.statistics().logSumExp()[own + i];
            known[3][at + i] = t.statistics().nonTargetLogSumExp()[own + i];
          }
        });
    return TeacherRows.topK(
        count,
        shape.vocab(),
        k,
        new TopK.Selection(ids, values),
        new TeacherRows.Scalars(shape.temperature(), known[0], known[1], known[2], known[3]));
  }
}
