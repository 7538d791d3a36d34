package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.worker.kernels.GatedDkd.Mode;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Losses in C against those in Java. */
class LossKernelsTest {
  private static final Kernels SCALAR = new ScalarKernels();
  static final double[] TEMPERATURES = {1, 2, 3, 0.7};
  static final double ULP = Math.ulp(1f) / 2;

  static float[] logits(Random random, int n, double spread) {
    float[] out = new float[n];
    for (int i = 0; i < n; i++) {
      out[i] = (float) (random.nextGaussian() * spread);
    }
    return out;
  }

  static int[] targets(Random random, int rows, int vocab) {
    return random.ints(rows, 0, vocab).toArray();
  }

  /** Largest distance to the largest logit, the target aside. */
  static double distance(float[] z, int row, int vocab, int target) {
    double max = Double.NEGATIVE_INFINITY;
    double min = Double.POSITIVE_INFINITY;
    for (int v = 0; v < vocab; v++) {
      if (v != target) {
        max = Math.max(max, z[row * vocab + v]);
        min = Math.min(min, z[row * vocab + v]);
      }
    }
    return max - min;
  }

  /**
   * Relative error of exp(x) in float32: two units of the polynomial, and three roundings of the
   * argument (difference, 1 / T, product) that x magnifies; squares have twice that of x / 2.
   */
  static double exponential(double x) {
    return 2 * (4 * ULP + 3 * x * ULP);
  }

  private static TokenLosses.Batch batch(
      int rows, int vocab, int k, Mode mode, double t, double ceWeight, double spread, long seed) {
    Random random = new Random(seed);
    float[] z = logits(random, rows * vocab, spread);
    int[] y = targets(random, rows, vocab);
    double[] weights = random.doubles(rows, 0, 1).toArray();
    float[] q = logits(random, rows * vocab, spread);
    TeacherRows teacher =
        k < 0
            ? null
            : k == 0
                ? TeacherRows.full(q, rows, vocab)
                : TeacherRows.compress(q, rows, vocab, y, Math.min(k, vocab), t);
    return new TokenLosses.Batch(
        z,
        new TokenLosses.Rows(
            rows, vocab, y, ceWeight, teacher, weights, new GatedDkd.Options(mode, true, t, 1, 4)));
  }

  /** Gradient (float[]), cross-entropies and distillation losses (double[]). */
  private static Object[] losses(Kernels k, TokenLosses.Batch b, boolean inPlace) {
    float[] z = b.logits().clone();
    float[] d = inPlace ? z : QuantizerKernelsTest.poison(z.length);
    TokenLosses.Result r = k.losses().tokenLosses(new TokenLosses.Batch(z, b.rows()), d);
    return new Object[] {d, r.ce(), r.distillation()};
  }

  @Property(tries = 120)
  void lossesAreTheOracles(
      @ForAll @IntRange(min = 0, max = 9) int rows,
      @ForAll @IntRange(min = 2, max = 700) int vocab,
      @ForAll @IntRange(min = -1, max = 40) int k,
      @ForAll Mode mode,
      @ForAll @IntRange(min = 0, max = 3) int temperature,
      @ForAll boolean entropy,
      @ForAll @DoubleRange(min = 0.1, max = 6) double spread,
      @ForAll long seed) {
    double t = TEMPERATURES[temperature];
    TokenLosses.Batch b = batch(rows, vocab, k, mode, t, entropy ? 0.3 : 0, spread, seed);
    Object[] expected = losses(SCALAR, b, false);
    assertThat((Object) losses(SCALAR, b, true)).isEqualTo(expected);
    Object[] found = NativeTwins.same(n -> losses(n, b, false));
    NativeTwins.give(found, n -> losses(n, b, true));
    for (int i = 0; i < rows; i++) {
      checkRow(b, i, found, expected);
    }
  }

  @Property(tries = 40)
  void whereTheLogitsLieChangesNothing(
      @ForAll @IntRange(min = 0, max = 5) int rows,
      @ForAll @IntRange(min = 2, max = 300) int vocab,
      @ForAll @IntRange(min = -1, max = 20) int k,
      @ForAll long seed) {
    TokenLosses.Batch b = batch(rows, vocab, k, Mode.DKD, 2, 0.3, 2, seed);
    List<Kernels> all = new ArrayList<>(NativeTwins.all());
    all.add(SCALAR);
    for (Kernels kernels : all) {
      Object[] expected = losses(kernels, b, true);
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment z = arena.allocateFrom(ValueLayout.JAVA_FLOAT, b.logits());
        TokenLosses.Result r = kernels.losses().tokenLosses(b.rows(), z);
        assertThat(new Object[] {z.toArray(ValueLayout.JAVA_FLOAT), r.ce(), r.distillation()})
            .isEqualTo(expected);
      }
    }
  }

  @Test
  void someOfTheTeachersRowsAreTheirCopy() {
    TokenLosses.Batch b = batch(3, 200, -1, Mode.DKD, 2, 0.3, 2, 5);
    float[] teacher = logits(new Random(7), 6 * 200, 2);
    List<Kernels> all = new ArrayList<>(NativeTwins.all());
    all.add(SCALAR);
    for (Kernels kernels : all) {
      Object[] found = losses(kernels, with(b, TeacherRows.full(teacher, 2, 3, 200)), true);
      float[] copy = Arrays.copyOfRange(teacher, 2 * 200, 5 * 200);
      assertThat(found)
          .isEqualTo(losses(kernels, with(b, TeacherRows.full(copy, 3, 200)), true))
          .isNotEqualTo(losses(kernels, with(b, TeacherRows.full(teacher, 1, 3, 200)), true));
    }
    assertThatThrownBy(() -> TeacherRows.full(teacher, 4, 3, 200))
        .hasMessage("TeacherRows: logits holds 1200 elements, allowed are at least 1400");
    assertThatThrownBy(() -> TeacherRows.full(teacher, -1, 3, 200))
        .hasMessageContaining("first is -1");
  }

  private static TokenLosses.Batch with(TokenLosses.Batch b, TeacherRows teacher) {
    return new TokenLosses.Batch(
        b.logits(),
        new TokenLosses.Rows(
            b.rows().rows(),
            b.rows().vocab(),
            b.rows().targets(),
            b.rows().ceWeight(),
            teacher,
            b.rows().weights(),
            b.rows().options()));
  }

  @Test
  void inPlaceARowThatIsNotFiniteHasLossesOfNaN() {
    TokenLosses.Batch b = batch(4, 300, 3, Mode.DKD, 2, 1, 2, 5);
    List<Kernels> all = new ArrayList<>(NativeTwins.all());
    all.add(SCALAR);
    for (Kernels kernels : all) {
      Object[] good = losses(kernels, b, true);
      float[] z = b.logits().clone();
      z[2 * 300 + 299] = Float.NEGATIVE_INFINITY;
      TokenLosses.Result r = kernels.losses().tokenLosses(b.rows(), MemorySegment.ofArray(z));
      double[] ce = ((double[]) good[1]).clone();
      double[] distillation = ((double[]) good[2]).clone();
      ce[2] = distillation[2] = Double.NaN;
      assertThat(r.ce()).isEqualTo(ce);
      assertThat(r.distillation()).isEqualTo(distillation);
      assertThat(Arrays.copyOf(z, 600)).isEqualTo(Arrays.copyOf((float[]) good[0], 600));
    }
    assertThatThrownBy(
            () -> TokenLosses.applyInPlace(MemorySegment.ofArray(new float[3]), b.rows()))
        .hasMessage("TokenLosses: logits have 12 bytes, allowed are 4800");
  }

  @ParameterizedTest
  @ValueSource(ints = {-1, 0, 64})
  void longRowsAreTheOraclesAndABadNumberIsFoundAnywhere(int k) {
    int vocab = 20_001;
    TokenLosses.Batch b = batch(2, vocab, k, Mode.DKD, 3, 0.3, 2, 11);
    Object[] expected = losses(SCALAR, b, false);
    Object[] found = NativeTwins.same(n -> losses(n, b, true));
    for (int i = 0; i < 2; i++) {
      checkRow(b, i, found, expected);
    }
    for (Kernels kernels : NativeTwins.all()) {
      for (int bad : new int[] {0, 8191, 8192, b.rows().targets()[0], 16384, 19_999, 20_000}) {
        float[] z = b.logits().clone();
        z[bad] = Float.POSITIVE_INFINITY;
        TokenLosses.Result r = kernels.losses().tokenLosses(b.rows(), MemorySegment.ofArray(z));
        assertThat(r.ce()).as("at %d", bad).isEqualTo(nanFirst((double[]) found[1]));
        assertThat(r.distillation()).isEqualTo(nanFirst((double[]) found[2]));
        assertThat(Arrays.copyOfRange(z, vocab, 2 * vocab))
            .isEqualTo(Arrays.copyOfRange((float[]) found[0], vocab, 2 * vocab));
      }
    }
  }

  private static double[] nanFirst(double[] values) {
    double[] out = values.clone();
    out[0] = Double.NaN;
    return out;
  }

  @Test
  void aTeachersLogitThatIsNotFiniteIsNamed() {
    TokenLosses.Batch b = batch(2, 300, 0, Mode.DKD, 2, 0.3, 2, 5);
    float[] logits = logits(new Random(7), 4 * 300, 2);
    logits[2 * 300 + 17] = Float.NaN;
    TokenLosses.Batch bad = with(b, TeacherRows.full(logits, 1, 2, 300));
    List<Kernels> all = new ArrayList<>(NativeTwins.all());
    all.add(SCALAR);
    for (Kernels kernels : all) {
      assertThatThrownBy(() -> losses(kernels, bad, true))
          .hasMessage("TeacherRows: logits[617] is NaN, allowed are finite numbers");
      assertThatThrownBy(
              () ->
                  kernels
                      .losses()
                      .tokenLosses(bad.rows(), MemorySegment.ofArray(b.logits().clone())))
          .hasMessage("TeacherRows: logits[617] is NaN, allowed are finite numbers");
      // A row of the teacher that is not among these.
      assertThat(losses(kernels, with(b, TeacherRows.full(logits, 0, 2, 300)), true)).isNotNull();
    }
    assertThatThrownBy(
            () ->
                GatedDkd.apply(
                    b.logits(),
                    2,
                    300,
                    bad.rows().teacher(),
                    b.rows().targets(),
                    b.rows().options()))
        .hasMessageContaining("logits[617] is NaN");
    assertThatThrownBy(() -> TeacherRows.compress(logits, 4, 300, new int[4], 3, 2))
        .hasMessageContaining("logits[617] is NaN");
  }

  /**
   * Every exponential and every sum of them has at most the relative error e; the bounds are what
   * that does to the closed forms, to first order.
   */
  private static void checkRow(TokenLosses.Batch b, int i, Object[] found, Object[] expected) {
    int vocab = b.rows().vocab();
    int y = b.rows().targets()[i];
    TeacherRows teacher = b.rows().teacher();
    double t = teacher == null ? 1 : b.rows().options().temperature();
    double far = distance(b.logits(), i, vocab, y) * Math.max(1, 1 / t);
    if (teacher != null && teacher.isFull()) {
      far = Math.max(far, distance(teacher.values(), i, vocab, y) / t);
    }
    double e = exponential(far);
    double weight = teacher == null ? 0 : t * b.rows().weights()[i];
    double[] p = new double[vocab];
    double[] p1 = new double[vocab];
    double rest = Softmax.logSumExpWithout(b.logits(), i * vocab, vocab, y, t);
    double own = b.logits()[i * vocab + y];
    double all = Softmax.logAdd(own, Softmax.logSumExpWithout(b.logits(), i * vocab, vocab, y, 1));
    double ce = ((double[]) expected[1])[i];
    double kd = ((double[]) expected[2])[i];
    for (int v = 0; v < vocab; v++) {
      p[v] = Math.exp(b.logits()[i * vocab + v] / t - rest);
      p1[v] = Math.exp(b.logits()[i * vocab + v] - all);
      double d = ((float[]) expected[0])[i * vocab + v];
      // Factors: beta up to 4, alpha 1; beta q is at most |d| + (beta + alpha) p.
      double bound =
          v == y
              ? e * (weight + b.rows().ceWeight()) + 4 * e * Math.abs(d)
              : 4 * e * (Math.abs(d) + 5 * weight * p[v] + b.rows().ceWeight() * p1[v]);
      assertThat((double) ((float[]) found[0])[i * vocab + v])
          .as("row %d, id %d of %d", i, v, vocab)
          .isCloseTo(d, within(bound + 1e-36));
    }
    assertThat(((double[]) found[1])[i]).isCloseTo(ce, within(e * (1 - p1[y]) + 1e-12));
    if (teacher == null) {
      assertThat(((double[]) found[2])[i]).isZero();
      return;
    }
    double qRest =
        teacher.isFull()
            ? Softmax.logSumExpWithout(teacher.values(), i * vocab, vocab, y, t)
            : teacher.scalars().nonTargetLogSumExp()[i];
    double qOwn =
        teacher.isFull()
            ? teacher.values()[i * vocab + y] / t
            : (teacher.scalars().targetLogProb()[i] + teacher.scalars().logSumExp()[i]) / t;
    double ratios = 2 * Math.abs(own / t - rest - qOwn + qRest);
    // The target's part, then the others': distances weighted by q, and two normalizers.
    double bound = t * t * e * (1 + ratios + 4 * (4 + 4 * far)) + 2 * e * kd + 1e-11;
    assertThat(((double[]) found[2])[i]).isCloseTo(kd, within(bound));
  }

  @Test
  void knownLossesAndGradient() {
    float[] student = {2, .5f, -1, 0, 1, .1f, .2f, .3f, .4f, .5f, -1, 3, 0, 2, 1};
    float[] teacher = {4, 1, -2, .5f, 0, 0, 0, 0, 0, 1, -2, 1, 0, 5, .5f};
    int[] y = {0, 4, 3};
    double[] gates = {.776179567, .393709948, .886502611};
    double[] weights = Arrays.stream(gates).map(g -> g / Arrays.stream(gates).sum()).toArray();
    for (int k : new int[] {0, 5}) {
      TeacherRows rows =
          k == 0 ? TeacherRows.full(teacher, 3, 5) : TeacherRows.compress(teacher, 3, 5, y, k, 2);
      Object[] found =
          NativeTwins.same(
              n ->
                  losses(
                      n,
                      new TokenLosses.Batch(
                          student,
                          new TokenLosses.Rows(
                              3, 5, y, 0, rows, weights, GatedDkd.Options.grace())),
                      false));
      double[] loss = {1.589606802, .080409092, 3.384171385};
      double[] d = {-.194427441, -.248463022, .171152615, -.193503196, .465241044};
      for (int i = 0; i < 3; i++) {
        assertThat(((double[]) found[2])[i]).isCloseTo(loss[i], within(2e-6));
      }
      for (int v = 0; v < 5; v++) {
        assertThat((double) ((float[]) found[0])[v]).isCloseTo(d[v], within(2e-7));
      }
    }
  }

  @Test
  void largeVocabulariesAndExtremeLogits() {
    for (int k : new int[] {-1, 0, 32}) {
      TokenLosses.Batch b = batch(5, 32_003, k, Mode.DKD, 2, 0.2, 3, 11);
      Object[] found = NativeTwins.same(n -> losses(n, b, false));
      Object[] expected = losses(SCALAR, b, false);
      for (int i = 0; i < 5; i++) {
        checkRow(b, i, found, expected);
      }
    }
    float[] z = {3e38f, -3e38f, 0, 1e30f, -200, 200, -90, 90, 0, 1e-40f, 88, -88};
    float[] q = {-3e38f, 3e38f, 1, 0, 200, -200, 90, -90, 0, 0, -88, 88};
    int[] y = {0, 1, 2};
    for (int k : new int[] {0, 2}) {
      TeacherRows teacher =
          k == 0 ? TeacherRows.full(q, 3, 4) : TeacherRows.compress(q, 3, 4, y, k, 2);
      Object[] found =
          NativeTwins.same(
              n ->
                  losses(
                      n,
                      new TokenLosses.Batch(
                          z,
                          new TokenLosses.Rows(
                              3, 4, y, .5, teacher, new double[] {.2, .3, .5}, options())),
                      false));
      for (float v : (float[]) found[0]) {
        assertThat(v).isFinite();
      }
      for (int part = 1; part < 3; part++) {
        for (double v : (double[]) found[part]) {
          assertThat(v).isNotNaN().isGreaterThanOrEqualTo(-1e-5);
        }
      }
    }
  }

  private static GatedDkd.Options options() {
    return new GatedDkd.Options(Mode.DKD, true, 2, 1, 4);
  }

  @Test
  void equalLogitsHaveNoDistillationLoss() {
    float[] z = logits(new Random(3), 3 * 301, 4);
    TokenLosses.Batch b =
        new TokenLosses.Batch(
            z,
            new TokenLosses.Rows(
                3,
                301,
                new int[] {0, 300, 7},
                0,
                TeacherRows.full(z.clone(), 3, 301),
                new double[] {1, 1, 1},
                options()));
    Object[] found = NativeTwins.same(n -> losses(n, b, false));
    assertThat((double[]) found[2]).containsOnly(0.0);
    assertThat((float[]) found[0]).containsOnly(0f);
  }

  @Test
  void numbersThatAreNotFiniteAreNamedAndTheirRowsKept() {
    for (int k : new int[] {-1, 0, 3}) {
      TokenLosses.Batch b = batch(4, 300, k, Mode.DKD, 2, 1, 2, 5);
      for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
        for (NativeKernels n : NativeTwins.all()) {
          float[] z = b.logits().clone();
          z[2 * 300 + 299] = bad;
          float[] before = Arrays.copyOfRange(z, 600, 900);
          TokenLosses.Batch own =
              new TokenLosses.Batch(
                  z,
                  new TokenLosses.Rows(
                      4,
                      300,
                      b.rows().targets(),
                      1,
                      b.rows().teacher(),
                      b.rows().weights(),
                      b.rows().options()));
          assertThatThrownBy(() -> n.losses().tokenLosses(own, z))
              .hasMessage("TokenLosses: logits[899] is %s, allowed are finite numbers", bad);
          assertThat(Arrays.copyOfRange(z, 600, 900)).isEqualTo(before);
          assertThatThrownBy(
                  () -> n.losses().statistics(own.logits(), 4, 300, b.rows().targets(), 2))
              .hasMessageContaining("allowed are finite numbers");
        }
      }
    }
  }
}
