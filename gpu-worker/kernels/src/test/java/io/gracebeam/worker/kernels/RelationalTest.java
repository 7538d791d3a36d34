package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** The relational loss and its gradient. */
class RelationalTest {
  private static final float[] VT = {
    1, 0, 2, .5f, .9f, .1f, 1.8f, .4f, -1, 2, 0, 1, 0, 2.2f, .1f, -1, 1, 1, 1, 1
  };
  private static final float[] VS = {
    .5f, 1, 0, .6f, .9f, .1f, -1, .2f, 1, .1f, -.3f, 1.2f, .4f, .4f, .4f
  };

  @Test
  void knownLossAndGradient() {
    Rcka.Result r = Rcka.apply(Rcka.gram(VT, 5, 4), VS, 5, 3);
    assertThat(r.skipped()).isFalse();
    assertThat(r.cka()).isCloseTo(0.975358530889912, within(1e-6));
    assertThat(r.loss()).isCloseTo(0.024641469110088, within(1e-6));
    double[] d = {
      -.023650168,
      .011825084,
      .006899513,
      -.00359958,
      .000685631,
      .015426802,
      -.022851118,
      -.005835428,
      -.021684033,
      .016797615,
      .028323711,
      .005681126,
      .074585783,
      -.054141763,
      -.02044402
    };
    for (int i = 0; i < d.length; i++) {
      assertThat((double) r.dV()[i]).as("dV[%d]", i).isCloseTo(d[i], within(5e-7));
    }
    assertThat(squares(Rcka.gram(VT, 5, 4))).isCloseTo(4.003111449, within(1e-5));
    assertThat(squares(Rcka.gram(VS, 5, 3))).isCloseTo(5.088659008, within(1e-5));
  }

  private static double squares(float[] k) {
    double sum = 0;
    for (float v : k) {
      sum += (double) v * v;
    }
    return sum;
  }

  @Property(tries = 40)
  void gradientIsTheDerivativeAndLossIsInRange(
      @ForAll @IntRange(min = 4, max = 9) int n,
      @ForAll @IntRange(min = 2, max = 6) int d,
      @ForAll long seed) {
    Random random = new Random(seed);
    float[] k = Rcka.gram(QuantizerTest.random(random, n * 5), n, 5);
    float[] v = QuantizerTest.random(random, n * d);
    for (int i = 0; i < n; i++) {
      v[i * d] += v[i * d] < 0 ? -1 : 1; // no tiny rows
    }
    Rcka.Result r = Rcka.apply(k, v, n, d);
    assertThat(r.loss()).isBetween(0.0, 1.0);
    for (int i = 0; i < v.length; i++) {
      // What two spans leave of the error, to the fourth order of the span.
      double expected = (4 * slope(k, v, n, d, i, .01f) - slope(k, v, n, d, i, .02f)) / 3;
      assertThat((double) r.dV()[i]).as("dV[%d]", i).isCloseTo(expected, within(3e-4));
    }
  }

  /** Of the loss by element i, between points that far to its left and right. */
  private static double slope(float[] k, float[] v, int n, int d, int i, float far) {
    float keep = v[i];
    v[i] = keep + far;
    double right = v[i];
    double hi = Rcka.apply(k, v, n, d).loss();
    v[i] = keep - far;
    double span = right - v[i];
    double lo = Rcka.apply(k, v, n, d).loss();
    v[i] = keep;
    return (hi - lo) / span;
  }

  @Test
  void equalScaledAndRotatedStatesHaveNoLoss() {
    float[] k = Rcka.gram(VT, 5, 4);
    assertThat(Rcka.apply(k, VT, 5, 4).loss()).isCloseTo(0, within(1e-6));
    float[] changed = new float[20];
    for (int i = 0; i < 5; i++) {
      float s = 1 + i;
      changed[i * 4] = s * VT[i * 4 + 1];
      changed[i * 4 + 1] = -s * VT[i * 4];
      changed[i * 4 + 2] = s * (.6f * VT[i * 4 + 2] + .8f * VT[i * 4 + 3]);
      changed[i * 4 + 3] = s * (-.8f * VT[i * 4 + 2] + .6f * VT[i * 4 + 3]);
    }
    Rcka.Result r = Rcka.apply(k, changed, 5, 4);
    assertThat(r.loss()).isCloseTo(0, within(1e-6));
    assertThat(r.skipped()).isFalse();
  }

  @Test
  void fewTokensAndFlatImagesAreSkipped() {
    Rcka.Result few = Rcka.apply(new float[9], new float[] {1, 2, 3, 4, 5, 6}, 3, 2);
    assertThat(few.skipped()).isTrue();
    assertThat(few.loss()).isZero();
    assertThat(few.dV()).hasSize(6).containsOnly(0f);
    float[] flat = new float[10];
    java.util.Arrays.fill(flat, 2f);
    assertThat(Rcka.apply(Rcka.gram(VT, 5, 4), flat, 5, 2).skipped()).isTrue();
    assertThat(Rcka.apply(new float[25], VS, 5, 3).skipped()).isTrue();
    float[] zeroRow = VS.clone();
    zeroRow[0] = zeroRow[1] = zeroRow[2] = 0f;
    Rcka.Result r = Rcka.apply(Rcka.gram(VT, 5, 4), zeroRow, 5, 3);
    assertThat(r.skipped()).isFalse();
    assertThat(r.dV()[0]).isZero();
    assertThat(r.loss()).isBetween(0.0, 1.0);
  }

  @Test
  void triangleRoundTrips() {
    float[] k = Rcka.gram(VT, 5, 4);
    assertThat(Rcka.packUpper(k, 5)).hasSize(15);
    assertThat(Rcka.unpackUpper(Rcka.packUpper(k, 5), 5)).isEqualTo(k);
    float[] b = Rcka.unpackUpperBf16(Rcka.packUpperBf16(k, 5), 5);
    for (int i = 0; i < 25; i++) {
      assertThat(b[i]).isEqualTo(Bf16.round(k[i]));
    }
    assertThat(Rcka.apply(b, VS, 5, 3).loss()).isCloseTo(0.024641469, within(2e-4));
    assertThatThrownBy(() -> Rcka.unpackUpper(new float[14], 5))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("upper holds 14");
    assertThatThrownBy(() -> Rcka.apply(new float[24], VS, 5, 3))
        .hasMessageContaining("kcT holds 24");
    float[] bad = VS.clone();
    bad[1] = Float.NaN;
    assertThatThrownBy(() -> Rcka.apply(k, bad, 5, 3)).hasMessageContaining("v[1] is NaN");
  }
}
