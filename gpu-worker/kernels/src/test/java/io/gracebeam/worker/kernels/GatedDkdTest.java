package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.worker.kernels.GatedDkd.Mode;
import io.gracebeam.worker.kernels.GatedDkd.Options;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Known values, identities and derivatives of the distillation losses. */
class GatedDkdTest {
  private static final float[] STUDENT = {
    2, .5f, -1, 0, 1, .1f, .2f, .3f, .4f, .5f, -1, 3, 0, 2, 1
  };
  private static final float[] TEACHER = {4, 1, -2, .5f, 0, 0, 0, 0, 0, 1, -2, 1, 0, 5, .5f};
  private static final int[] TARGETS = {0, 4, 3};
  private static final Options GRACE = Options.grace();

  @Test
  void knownLossGatesAndGradient() {
    GatedDkd.Result r =
        GatedDkd.apply(STUDENT, 3, 5, TeacherRows.full(TEACHER, 3, 5), TARGETS, GRACE);
    close(r.perToken(), 2e-6, 1.589606802, .080409092, 3.384171385);
    close(r.gates(), 1e-8, .776179567, .393709948, .886502611);
    assertThat(r.loss()).isCloseTo(2.074290644619469, within(1e-6));
    double[] d = {
      -.194427441,
      -.248463022,
      .171152615,
      -.193503196,
      .465241044,
      -.021891850,
      -.003381885,
      .016077107,
      .036533783,
      -.027337155,
      .007734893,
      .914858208,
      -.302779224,
      -.413073132,
      -.206740745
    };
    for (int i = 0; i < d.length; i++) {
      assertThat((double) r.dLogits()[i]).as("d[%d]", i).isCloseTo(d[i], within(2e-7));
    }
    double[] entropy = {.407785512, 1.500222766, .193890929};
    for (int i = 0; i < 3; i++) {
      assertThat(TeacherStatistics.of(TEACHER, i, 5, TARGETS[i]).entropy())
          .isCloseTo(entropy[i], within(1e-8));
    }
    GatedDkd.Result plain =
        GatedDkd.apply(
            STUDENT,
            3,
            5,
            TeacherRows.full(TEACHER, 3, 5),
            TARGETS,
            new Options(Mode.DKD, false, 2, 1, 4));
    assertThat(plain.loss()).isCloseTo(1.684729093, within(1e-6));
    assertThat(plain.gates()).containsOnly(1.0);
  }

  @Test
  void knownPartsAndDivergence() {
    TeacherRows teacher = TeacherRows.full(TEACHER, 3, 5);
    close(
        per(teacher, new Options(Mode.DKD, true, 2, 1, 0)),
        2e-7,
        4 * .135568447,
        4 * .013854485,
        4 * .500179587);
    close(
        per(teacher, new Options(Mode.DKD, true, 2, 0, 1)),
        2e-7,
        4 * .065458313,
        4 * .001561947,
        4 * .086465815);
    close(
        per(teacher, new Options(Mode.KD, true, 2, 1, 4)),
        2e-7,
        4 * .159650516,
        4 * .014960539,
        4 * .522739463);
  }

  private static double[] per(TeacherRows teacher, Options o) {
    return GatedDkd.apply(STUDENT, 3, 5, teacher, TARGETS, o).perToken();
  }

  @Property(tries = 100)
  void plainModeIsTheDivergenceAndGateWeightsTheMean(
      @ForAll @IntRange(min = 2, max = 40) int vocab,
      @ForAll @IntRange(min = 1, max = 6) int rows,
      @ForAll long seed) {
    Random random = new Random(seed);
    float[] s = logits(random, rows * vocab, 3);
    float[] t = logits(random, rows * vocab, 3);
    int[] y = random.ints(rows, 0, vocab).toArray();
    double temp = .5 + 3 * random.nextDouble();
    TeacherRows teacher = TeacherRows.full(t, rows, vocab);
    GatedDkd.Result kd =
        GatedDkd.apply(s, rows, vocab, teacher, y, new Options(Mode.KD, true, temp, 1, 1));
    double sum = 0;
    double gates = 0;
    for (int i = 0; i < rows; i++) {
      double kl = 0;
      double[] q = softmax(t, i, vocab, temp);
      double[] p = softmax(s, i, vocab, temp);
      for (int v = 0; v < vocab; v++) {
        kl += q[v] * Math.log(q[v] / p[v]);
        assertThat(kd.dLogits()[i * vocab + v])
            .isCloseTo(
                (float)
                    (temp
                        * (p[v] - q[v])
                        * kd.gates()[i]
                        / java.util.Arrays.stream(kd.gates()).sum()),
                within(1e-6f));
      }
      assertThat(kd.perToken()[i]).isCloseTo(temp * temp * kl, within(1e-9 + 1e-9 * kl));
      assertThat(kd.gates()[i]).isBetween(Math.exp(-1), 1.0);
      sum += kd.gates()[i] * kd.perToken()[i];
      gates += kd.gates()[i];
    }
    assertThat(kd.loss()).isCloseTo(sum / gates, within(1e-12 + 1e-9 * kd.loss()));
    // Weighted mean = plain mean + N * covariance of the normalized weights and the losses.
    double mean = java.util.Arrays.stream(kd.perToken()).average().orElseThrow();
    double cov = 0;
    for (int i = 0; i < rows; i++) {
      cov += (kd.gates()[i] / gates - 1.0 / rows) * (kd.perToken()[i] - mean) / rows;
    }
    assertThat(kd.loss()).isCloseTo(mean + rows * cov, within(1e-9 * Math.max(1, mean)));
  }

  @Property(tries = 60)
  void gradientIsTheDerivativeInEveryForm(
      @ForAll @IntRange(min = 2, max = 12) int vocab,
      @ForAll @IntRange(min = 0, max = 12) int listed,
      @ForAll Mode mode,
      @ForAll boolean gate,
      @ForAll long seed) {
    Random random = new Random(seed);
    int rows = 3;
    float[] s = logits(random, rows * vocab, 2);
    float[] t = logits(random, rows * vocab, 2);
    int[] y = random.ints(rows, 0, vocab).toArray();
    Options o = new Options(mode, gate, 2, 1, 4);
    TeacherRows teacher =
        listed == 0
            ? TeacherRows.full(t, rows, vocab)
            : TeacherRows.compress(t, rows, vocab, y, Math.min(listed, vocab), 2);
    float[] d = GatedDkd.apply(s, rows, vocab, teacher, y, o).dLogits();
    for (int i = 0; i < s.length; i++) {
      float h = 1f / 1024;
      float keep = s[i];
      s[i] = keep + h;
      double up = s[i];
      double hi = GatedDkd.apply(s, rows, vocab, teacher, y, o).loss();
      s[i] = keep - h;
      double down = s[i];
      double lo = GatedDkd.apply(s, rows, vocab, teacher, y, o).loss();
      s[i] = keep;
      assertThat((double) d[i]).as("d[%d]", i).isCloseTo((hi - lo) / (up - down), within(5e-6));
    }
  }

  @Property(tries = 60)
  void topKWithEveryIdIsTheFullForm(
      @ForAll @IntRange(min = 2, max = 30) int vocab, @ForAll long seed) {
    Random random = new Random(seed);
    float[] s = logits(random, 2 * vocab, 4);
    float[] t = logits(random, 2 * vocab, 4);
    int[] y = random.ints(2, 0, vocab).toArray();
    GatedDkd.Result full = GatedDkd.apply(s, 2, vocab, TeacherRows.full(t, 2, vocab), y, GRACE);
    // One id less than all: the tail bucket holds at most one id, so nothing is lost.
    for (int k = Math.max(1, vocab - 1); k <= vocab; k++) {
      GatedDkd.Result top =
          GatedDkd.apply(s, 2, vocab, TeacherRows.compress(t, 2, vocab, y, k, 2), y, GRACE);
      assertThat(top.loss()).isCloseTo(full.loss(), within(1e-8 * Math.max(1, full.loss())));
      assertThat(top.gates()).containsExactly(full.gates());
      for (int i = 0; i < s.length; i++) {
        assertThat(top.dLogits()[i]).isCloseTo(full.dLogits()[i], within(1e-6f));
      }
    }
  }

  @Property(tries = 60)
  void shortListsKeepTheTargetTermExactAndBoundTheRest(
      @ForAll @IntRange(min = 1, max = 10) int k, @ForAll long seed) {
    Random random = new Random(seed);
    int vocab = 50;
    float[] s = logits(random, 2 * vocab, 3);
    float[] t = logits(random, 2 * vocab, 3);
    int[] y = random.ints(2, 0, vocab).toArray();
    TeacherRows full = TeacherRows.full(t, 2, vocab);
    TeacherRows top = TeacherRows.compress(t, 2, vocab, y, k, 2);
    Options target = new Options(Mode.DKD, true, 2, 1, 0);
    Options rest = new Options(Mode.DKD, true, 2, 0, 1);
    for (int i = 0; i < 2; i++) {
      double exact = GatedDkd.apply(s, 2, vocab, full, y, target).perToken()[i];
      assertThat(GatedDkd.apply(s, 2, vocab, top, y, target).perToken()[i])
          .isCloseTo(exact, within(1e-9 * Math.max(1, exact)));
      // Joining ids into one bucket can only lose divergence.
      assertThat(GatedDkd.apply(s, 2, vocab, top, y, rest).perToken()[i])
          .isBetween(-1e-9, GatedDkd.apply(s, 2, vocab, full, y, rest).perToken()[i] + 1e-9);
    }
  }

  @Test
  void extremeLogitsGiveFiniteNumbers() {
    float[] s = {300, -300, 0, -300, 300, 0, 0, 0, 0};
    float[] t = {-300, 300, 0, -300, 300, 0, 300, -300, -300};
    int[] y = {0, 1, 0};
    for (Mode mode : Mode.values()) {
      for (TeacherRows teacher :
          new TeacherRows[] {TeacherRows.full(t, 3, 3), TeacherRows.compress(t, 3, 3, y, 1, 2)}) {
        GatedDkd.Result r = GatedDkd.apply(s, 3, 3, teacher, y, new Options(mode, true, 2, 1, 4));
        assertThat(r.loss()).isFinite().isGreaterThan(100);
        assertThat(r.perToken()[1]).isBetween(0.0, 1e-9);
        for (float v : r.dLogits()) {
          assertThat(v).isFinite();
        }
      }
    }
    // A target that the student is sure of still sends a gradient back: 1 - p_y underflows only
    // beyond double range.
    float[] sure = {90, 0};
    GatedDkd.Result r =
        GatedDkd.apply(
            sure, 1, 2, TeacherRows.full(new float[] {0, 0}, 1, 2), new int[] {0}, GRACE);
    assertThat((double) r.dLogits()[0]).isCloseTo(2 * .5, within(1e-6));
    assertThat((double) r.dLogits()[1]).isCloseTo(-2 * .5, within(1e-6));
  }

  @Test
  void equalLogitsHaveNoLossAndNoRowsAreZero() {
    GatedDkd.Result r =
        GatedDkd.apply(TEACHER, 3, 5, TeacherRows.full(TEACHER, 3, 5), TARGETS, GRACE);
    assertThat(r.loss()).isCloseTo(0, within(1e-12));
    GatedDkd.Result none =
        GatedDkd.apply(new float[0], 0, 5, TeacherRows.full(new float[0], 0, 5), new int[0], GRACE);
    assertThat(none.loss()).isZero();
    assertThat(CrossEntropy.apply(new float[0], 0, 5, new int[0]).loss()).isZero();
  }

  @Test
  void badInputIsRefused() {
    TeacherRows teacher = TeacherRows.full(TEACHER, 3, 5);
    float[] bad = STUDENT.clone();
    bad[7] = Float.NaN;
    assertThatThrownBy(() -> GatedDkd.apply(bad, 3, 5, teacher, TARGETS, GRACE))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("logits[7] is NaN");
    assertThatThrownBy(() -> GatedDkd.apply(STUDENT, 3, 5, teacher, new int[] {0, -100, 1}, GRACE))
        .hasMessageContaining("targets[1] is -100")
        .hasMessageContaining("0 to 4");
    assertThatThrownBy(() -> GatedDkd.apply(STUDENT, 3, 4, teacher, TARGETS, GRACE))
        .hasMessageContaining("[3, 5]");
    TeacherRows top = TeacherRows.compress(TEACHER, 3, 5, TARGETS, 2, 1.5);
    assertThatThrownBy(() -> GatedDkd.apply(STUDENT, 3, 5, top, TARGETS, GRACE))
        .hasMessageContaining("temperature is 2.0");
    TeacherRows badTeacher = TeacherRows.full(bad, 3, 5);
    assertThatThrownBy(() -> GatedDkd.apply(STUDENT, 3, 5, badTeacher, TARGETS, GRACE))
        .hasMessage("TeacherRows: logits[7] is NaN, allowed are finite numbers");
    assertThatThrownBy(
            () ->
                TeacherRows.topK(
                    1,
                    5,
                    2,
                    new TopK.Selection(new int[] {1, 1}, new float[2]),
                    new TeacherRows.Scalars(
                        2, new double[1], new double[1], new double[1], new double[1])))
        .hasMessageContaining("distinct");
    assertThatThrownBy(() -> new Options(Mode.KD, true, 0, 1, 1))
        .hasMessageContaining("temperature is 0.0");
  }

  @Property(tries = 60)
  void crossEntropyAndStatisticsMatchTheirDefinitions(
      @ForAll @IntRange(min = 2, max = 30) int vocab, @ForAll long seed) {
    Random random = new Random(seed);
    float[] z = logits(random, 2 * vocab, 5);
    int[] y = random.ints(2, 0, vocab).toArray();
    CrossEntropy.Result r = CrossEntropy.apply(z, 2, vocab, y);
    double expected = 0;
    for (int i = 0; i < 2; i++) {
      double[] p = softmax(z, i, vocab, 1);
      expected -= Math.log(p[y[i]]) / 2;
      double h = 0;
      int best = 0;
      for (int v = 0; v < vocab; v++) {
        h -= p[v] * Math.log(p[v]);
        best = p[v] > p[best] ? v : best;
        assertThat(r.dLogits()[i * vocab + v])
            .isCloseTo((float) ((p[v] - (v == y[i] ? 1 : 0)) / 2), within(1e-6f));
      }
      TeacherStatistics t = TeacherStatistics.of(z, i, vocab, y[i]);
      assertThat(t.entropy()).isCloseTo(h, within(1e-9));
      assertThat(t.targetLogProb()).isCloseTo(Math.log(p[y[i]]), within(1e-9));
      assertThat(t.argmax()).isEqualTo(best);
      assertThat(t.topProbability()).isCloseTo(p[best], within(1e-12));
      assertThat(Math.exp(t.nonTargetLogSumExp() - t.logSumExp()))
          .isCloseTo(1 - p[y[i]], within(1e-9));
    }
    assertThat(r.loss()).isCloseTo(expected, within(1e-9 * Math.max(1, expected)));
  }

  @Property(tries = 100)
  void topKIsTheHeadOfTheSortedRow(
      @ForAll @IntRange(min = 1, max = 40) int vocab,
      @ForAll @IntRange(min = 1, max = 40) int want,
      @ForAll long seed) {
    int k = Math.min(want, vocab);
    Random random = new Random(seed);
    float[] z = new float[2 * vocab];
    for (int i = 0; i < z.length; i++) {
      z[i] = random.nextInt(6); // many ties
    }
    TopK.Selection top = TopK.select(z, 1, vocab, k);
    Integer[] order = new Integer[vocab];
    java.util.Arrays.setAll(order, i -> i);
    java.util.Arrays.sort(
        order,
        (a, b) -> z[vocab + a] != z[vocab + b] ? Float.compare(z[vocab + b], z[vocab + a]) : a - b);
    for (int i = 0; i < k; i++) {
      assertThat(top.ids()[i]).isEqualTo(order[i]);
      assertThat(top.values()[i]).isEqualTo(z[vocab + order[i]]);
    }
  }

  private static void close(double[] actual, double tolerance, double... expected) {
    assertThat(actual).hasSameSizeAs(expected);
    for (int i = 0; i < expected.length; i++) {
      assertThat(actual[i]).as("element %d", i).isCloseTo(expected[i], within(tolerance));
    }
  }

  private static float[] logits(Random random, int n, double scale) {
    float[] a = new float[n];
    for (int i = 0; i < n; i++) {
      a[i] = (float) (scale * random.nextGaussian());
    }
    return a;
  }

  private static double[] softmax(float[] z, int row, int vocab, double t) {
    double[] p = new double[vocab];
    double sum = 0;
    for (int v = 0; v < vocab; v++) {
      p[v] = Math.exp(z[row * vocab + v] / t);
      sum += p[v];
    }
    for (int v = 0; v < vocab; v++) {
      p[v] /= sum;
    }
    return p;
  }
}
