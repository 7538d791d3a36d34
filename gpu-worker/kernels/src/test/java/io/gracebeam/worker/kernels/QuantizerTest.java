package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.junit.jupiter.api.Test;

/** Known values and edge cases of the quantizer, its gradient, AdamW and bfloat16. */
class QuantizerTest {
  private static final float[] W = {.11f, -.52f, .07f, .93f, -1.40f, .33f, -.29f, .02f};
  private static final QuantSpec INT4 = QuantSpec.of(4, 8, false, 1, 8);

  static double mse(float[] w, float[] theta, int rows, int cols, QuantSpec spec) {
    float[] out = new float[w.length];
    LogScaleQuantizer.fakeQuantize(w, theta, rows, cols, spec, out);
    double sum = 0;
    for (int i = 0; i < w.length; i++) {
      sum += (w[i] - out[i]) * (double) (w[i] - out[i]);
    }
    return sum / w.length;
  }

  @Test
  void scaleSearchFindsTheKnownGridPoint() {
    float[] theta = LogScaleQuantizer.searchLogScales(W, 1, 8, INT4);
    assertThat((double) theta[0]).isCloseTo(-1.750516511, within(1e-6));
    assertThat((double) LogScaleQuantizer.scales(theta)[0]).isCloseTo(.173684211, within(1e-7));
    assertThat(LogScaleQuantizer.ratio(12)).isCloseTo(0.868421053, within(1e-9));
    byte[] codes = new byte[8];
    LogScaleQuantizer.quantize(W, theta, 1, 8, INT4, codes);
    assertThat(codes).containsExactly(1, -3, 0, 5, -8, 2, -2, 0);
    assertThat(mse(W, theta, 1, 8, INT4)).isCloseTo(.002106544, within(1e-8));
  }

  @Test
  void absmaxScaleHasTheKnownError() {
    float[] theta = LogScaleQuantizer.absmaxLogScales(W, 1, 8, INT4);
    assertThat((double) LogScaleQuantizer.scales(theta)[0]).isCloseTo(1.4 / 7, within(1e-7));
    assertThat(mse(W, theta, 1, 8, INT4)).isCloseTo(.0047125, within(1e-7));
  }

  @Test
  void searchIsNeverWorseThanAbsmaxByMuchAndUsuallyBetter() {
    Random random = new Random(5);
    float[] w = random(random, 16 * 64);
    for (int bits : new int[] {2, 3, 4, 8}) {
      QuantSpec spec = QuantSpec.of(bits, 32, false, 16, 64);
      double found = mse(w, LogScaleQuantizer.searchLogScales(w, 16, 64, spec), 16, 64, spec);
      double plain = mse(w, LogScaleQuantizer.absmaxLogScales(w, 16, 64, spec), 16, 64, spec);
      assertThat(found).as("bits %d", bits).isLessThan(plain * (bits == 8 ? 1.05 : 1.0));
    }
  }

  @Test
  void gradientHasTheKnownValuesInBothKernels() {
    float[] up = {1, -1, .5f, 2, 1, -.5f, .25f, 1};
    float[] theta = {(float) Math.log(.15)};
    LatentWeight w = new LatentWeight(W, 1, 8, INT4);
    for (Kernels k : new Kernels[] {new ScalarKernels(), new VectorKernels(1)}) {
      float[] dW = new float[8];
      float[] dTheta = new float[1];
      LsqGradient.apply(k, w, theta, up, 1, dW, dTheta);
      assertThat(dW).containsExactly(1, -1, .5f, 2, 0, -.5f, .25f, 1);
      assertThat((double) dTheta[0]).isCloseTo(-1.3325, within(2e-6));
      assertThat(dTheta[0] / .15).isCloseTo(-8.8833333, within(2e-5));
      LsqGradient.apply(k, w, theta, up, LsqGradient.factor(INT4), dW, dTheta);
      assertThat((double) dTheta[0]).isCloseTo(-.178062802, within(1e-6));
    }
    byte[] codes = new byte[8];
    LogScaleQuantizer.quantize(W, theta, 1, 8, INT4, codes);
    assertThat(codes).containsExactly(1, -3, 0, 6, -8, 2, -2, 0);
  }

  @Test
  void thetaGradientIsTheDerivativeWithRoundingFrozen() {
    // With the rounding residue r - u held fixed, w^ = s (clip(u + residue)) and its derivative is
    // q - u inside, q outside.
    Random random = new Random(9);
    float[] w = random(random, 64);
    float[] up = random(random, 64);
    QuantSpec spec = QuantSpec.of(3, 64, false, 1, 64);
    float[] theta = {(float) Math.log(.3)};
    double s0 = LogScaleQuantizer.scales(theta)[0];
    float[] dTheta = new float[1];
    LsqGradient.apply(new LatentWeight(w, 1, 64, spec), theta, up, 1, new float[64], dTheta);
    double h = 1e-6;
    double numeric =
        (frozen(w, up, s0, s0 * Math.exp(h), spec) - frozen(w, up, s0, s0 * Math.exp(-h), spec))
            / (2 * h);
    assertThat((double) dTheta[0])
        .isCloseTo(numeric, within(1e-4 * Math.max(1, Math.abs(numeric))));
  }

  private static double frozen(float[] w, float[] up, double s0, double s, QuantSpec spec) {
    double sum = 0;
    for (int i = 0; i < w.length; i++) {
      double r = Math.rint(w[i] / s0);
      boolean in = r >= -spec.qn() && r <= spec.qp();
      double q = Math.max(-spec.qn(), Math.min(spec.qp(), r));
      sum += up[i] * s * (in ? w[i] / s + (r - w[i] / s0) : q);
    }
    return sum;
  }

  @Test
  void halvesRoundToEvenInBothKernels() {
    float[] w = {
      .5f,
      1.5f,
      2.5f,
      -.5f,
      -1.5f,
      -2.5f,
      7.5f,
      -8.5f,
      6.5f,
      -7.5f,
      100f,
      -100f,
      0f,
      -0f,
      3f,
      .49999997f
    };
    QuantSpec spec = QuantSpec.of(4, 16, false, 1, 16);
    LatentWeight latent = new LatentWeight(java.util.Arrays.copyOf(w, 16), 1, 16, spec);
    float[] expected = {0, 2, 2, 0, -2, -2, 7, -8, 6, -8, 7, -8, 0, 0, 3, 0};
    for (Kernels k : new Kernels[] {new ScalarKernels(), new VectorKernels(1)}) {
      float[] out = new float[16];
      LogScaleQuantizer.fakeQuantize(k, latent, new float[1], out);
      for (int i = 0; i < 16; i++) {
        assertThat(Float.floatToIntBits(out[i]))
            .as("%s %d", k.name(), i)
            .isEqualTo(Float.floatToIntBits(expected[i]));
      }
      float[] dW = new float[16];
      float[] ones = new float[16];
      java.util.Arrays.fill(ones, 1f);
      LsqGradient.apply(k, latent, new float[1], ones, 1, dW, new float[1]);
      // 7.5 rounds to 8 and is clipped, -8.5 rounds to -8 and is not.
      assertThat(dW).containsExactly(1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1);
    }
  }

  @Test
  void allZeroGroupStaysZeroAndFinite() {
    float[] w = new float[16];
    w[9] = 2f;
    QuantSpec spec = QuantSpec.of(4, 8, false, 1, 16);
    for (float[] theta :
        new float[][] {
          LogScaleQuantizer.searchLogScales(w, 1, 16, spec),
          LogScaleQuantizer.absmaxLogScales(w, 1, 16, spec)
        }) {
      assertThat((double) theta[0]).isCloseTo(Math.log(1e-8), within(1e-5));
      assertThat(theta[1]).isGreaterThan(-3f);
      float[] out = new float[16];
      LogScaleQuantizer.fakeQuantize(w, theta, 1, 16, spec, out);
      assertThat(out[0]).isZero();
      assertThat((double) out[9]).isCloseTo(2, within(.35));
      float[] dTheta = new float[2];
      float[] ones = new float[16];
      java.util.Arrays.fill(ones, 1f);
      LsqGradient.apply(new LatentWeight(w, 1, 16, spec), theta, ones, 1, new float[16], dTheta);
      assertThat(dTheta[0]).isZero();
      PackedWeight packed = PackedWeight.quantize(w, theta, 1, 16, spec);
      assertThat(packed.unpack()).startsWith(0, 0, 0, 0, 0, 0, 0, 0);
    }
  }

  @Test
  void specFallsBackToRowsAndValidates() {
    assertThat(QuantSpec.of(4, 128, false, 3, 96).groupSize()).isEqualTo(96);
    assertThat(QuantSpec.of(4, -1, false, 3, 96).groups(3, 96)).isEqualTo(3);
    assertThat(QuantSpec.of(4, 32, false, 3, 96).groups(3, 96)).isEqualTo(9);
    assertThat(QuantSpec.of(4, 32, true, 3, 96).groups(3, 96)).isEqualTo(1);
    assertThat(QuantSpec.of(8, 32, true, 3, 96).qn()).isEqualTo(128);
    assertThat(QuantSpec.of(8, 32, true, 3, 96).qp()).isEqualTo(127);
    assertThatThrownBy(() -> QuantSpec.of(1, 32, false, 3, 96))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("bits is 1")
        .hasMessageContaining("2 to 8");
    assertThatThrownBy(() -> QuantSpec.of(4, 32, true, 70000, 70000))
        .hasMessageContaining("split it");
    assertThatThrownBy(() -> new QuantSpec(4, 7, false).groups(2, 8))
        .hasMessageContaining("divisors of cols = 8");
  }

  @Test
  void notANumberIsNamedBeforeAnythingIsWritten() {
    float[] w = W.clone();
    w[3] = Float.NaN;
    LatentWeight bad = new LatentWeight(w, 1, 8, INT4);
    LatentWeight good = new LatentWeight(W, 1, 8, INT4);
    AdamW.Settings s = new AdamW.Settings(.1, .9, .99, 1e-8, 0, 1, 1f);
    float[] out = {9, 9, 9, 9, 9, 9, 9, 9};
    for (Kernels k : new Kernels[] {new ScalarKernels(), new VectorKernels(1)}) {
      assertThatThrownBy(() -> LogScaleQuantizer.fakeQuantize(k, bad, new float[1], out))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("w[3] is NaN")
          .hasMessageContaining("finite")
          .message()
          .doesNotContain("\n");
      assertThatThrownBy(() -> LogScaleQuantizer.fakeQuantize(k, good, new float[2], out))
          .hasMessageContaining("theta holds 2");
      assertThatThrownBy(() -> AdamW.step(k, s, out, w, Moments.zeros(8)))
          .hasMessageContaining("g[3] is NaN");
    }
    assertThat(out).containsOnly(9f);
    assertThatThrownBy(() -> LogScaleQuantizer.searchLogScales(w, 1, 8, INT4))
        .hasMessageContaining("w[3]");
  }

  @Test
  void adamWTakesTheKnownFirstStepsInBothKernels() {
    for (Kernels k : new Kernels[] {new ScalarKernels(), new VectorKernels(1)}) {
      float[] p = {1f, -2f, 3f};
      float[] m = new float[3];
      float[] v = new float[3];
      Moments moments = new Moments(m, v);
      float[] g = {.5f, -4f, 0f};
      // First step: m^ / sqrt(v^) is the sign of g, so p moves by lr after the decay.
      AdamW.step(k, new AdamW.Settings(.1, .9, .999, 1e-12, .01, 1, 2f), p, g, moments);
      assertThat((double) p[0]).isCloseTo(1 * .999 - .1, within(1e-6));
      assertThat((double) p[1]).isCloseTo(-2 * .999 + .1, within(1e-6));
      assertThat((double) p[2]).isCloseTo(3 * .999, within(1e-6));
      assertThat((double) m[0]).isCloseTo(.1, within(1e-7));
      assertThat((double) v[1]).isCloseTo(.064, within(1e-7));
      // Second step with zero gradient, by hand: m = .09, v = .000999, corrections .19 and .001999.
      float before = p[0];
      AdamW.step(k, new AdamW.Settings(.1, .9, .999, 1e-12, 0, 2, 1f), p, new float[3], moments);
      double expected = before - .1 * (.09 / .19) / Math.sqrt(.000999 / .001999);
      assertThat((double) p[0]).isCloseTo(expected, within(2e-6));
    }
  }

  @Test
  void bf16RoundsToNearestEven() {
    assertThat(Bf16.round(1f)).isEqualTo(1f);
    assertThat(Bf16.round(1f + 1f / 256)).isEqualTo(1f); // tie, even below
    assertThat(Bf16.round(1f + 3f / 256)).isEqualTo(1f + 4f / 256); // tie, even above
    assertThat(Bf16.round(1f + 1.01f / 256)).isEqualTo(1f + 2f / 256);
    assertThat(Bf16.round(Float.MAX_VALUE)).isEqualTo(Float.POSITIVE_INFINITY);
    assertThat(Bf16.round(Float.NaN)).isNaN();
    assertThat(Bf16.toFloat(Bf16.fromFloat(Float.intBitsToFloat(0x7f800001)))).isNaN();
    assertThat(Bf16.fromFloat(-0f)).isEqualTo((short) 0x8000);
    for (int bits = 0; bits < 1 << 16; bits++) {
      float f = Bf16.toFloat((short) bits);
      if (!Float.isNaN(f)) {
        assertThat(Bf16.fromFloat(f)).isEqualTo((short) bits);
      }
    }
  }

  static float[] random(Random random, int n) {
    float[] a = new float[n];
    for (int i = 0; i < n; i++) {
      a[i] = (float) random.nextGaussian();
    }
    return a;
  }
}
