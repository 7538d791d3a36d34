package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Scale search, packing, quantizer gradient and optimizer step in C against those in Java. */
class QuantizerKernelsTest {
  private static final Kernels SCALAR = new ScalarKernels();
  private static final Kernels VECTOR = new VectorKernels(2);
  private static final int[] GROUPS = {1, 3, 8, 16, 24, 33, 128, 260};
  private static final AdamW.Settings STEP = new AdamW.Settings(1e-2, .9, .999, 1e-8, .1, 3, .37f);

  /** Arguments of one case; weights have zeros, a group of zeros and halves of a scale. */
  private record Case(
      int rows, int cols, QuantSpec spec, float[] w, float[] g, float[] scales, float[] after) {
    LatentWeight latent() {
      return new LatentWeight(w, rows, cols, spec);
    }

    static Case of(int bits, int group, int groups, int rows, boolean perTensor, long seed) {
      Random random = new Random(seed);
      int cols = GROUPS[group] * groups;
      QuantSpec spec = QuantSpec.of(bits, GROUPS[group], perTensor, rows, cols);
      float[] w = QuantizerTest.random(random, rows * cols);
      float[] scales = new float[spec.groups(rows, cols)];
      float[] after = new float[scales.length];
      for (int k = 0; k < scales.length; k++) {
        scales[k] = (float) Math.exp(random.nextFloat() * 3 - 4);
        after[k] = scales[k] * (0.9f + 0.2f * random.nextFloat());
      }
      for (int i = 0; i < w.length; i += 7) {
        w[i] = scales[i / spec.groupSize()] * (random.nextInt(300) - 150) / 2f;
      }
      if (scales.length > 1) {
        Arrays.fill(w, 0, spec.groupSize(), 0f);
      }
      return new Case(rows, cols, spec, w, QuantizerTest.random(random, w.length), scales, after);
    }
  }

  private static double gradient(Kernels k, Case c, float[] dTheta) {
    return k.training().gradient(c.latent(), c.scales, all(c.g), 1, null, dTheta);
  }

  @Property(tries = 60)
  void searchAndCodesAreTheOracles(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 7) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 37) int rows,
      @ForAll boolean perTensor,
      @ForAll long seed) {
    Case c = Case.of(bits, group, groups, rows, perTensor, seed);
    float[] searched = new float[c.scales.length];
    SCALAR.quantizer().searchScales(c.latent(), searched);
    NativeTwins.give(
        searched,
        k -> {
          float[] out = poison(searched.length);
          k.quantizer().searchScales(c.latent(), out);
          return out;
        });
    NativeTwins.give(
        SCALAR.quantizer().packedCodes(c.latent(), c.scales),
        k -> k.quantizer().packedCodes(c.latent(), c.scales));
    float[] theta = new float[c.scales.length];
    for (int i = 0; i < theta.length; i++) {
      theta[i] = (float) Math.log(c.scales[i]);
    }
    float[] expected = new float[c.w.length];
    LogScaleQuantizer.fakeQuantize(SCALAR, c.latent(), theta, expected);
    NativeTwins.give(
        expected,
        k -> {
          float[] out = poison(expected.length);
          LogScaleQuantizer.fakeQuantize(k, c.latent(), theta, out);
          return out;
        });
  }

  @Property(tries = 60)
  void gradientIsTheOracles(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 7) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 37) int rows,
      @ForAll boolean perTensor,
      @ForAll long seed) {
    Case c = Case.of(bits, group, groups, rows, perTensor, seed);
    int count = c.scales.length;
    float[] expected = poison(count);
    double squares = gradient(SCALAR, c, expected);
    float[][] dTheta = new float[1][];
    double found =
        NativeTwins.same(
            k -> {
              dTheta[0] = poison(count);
              return gradient(k, c, dTheta[0]);
            });
    NativeTwins.give(
        dTheta[0],
        k -> {
          float[] out = poison(count);
          gradient(k, c, out);
          return out;
        });
    // Products are exact; n sums in any order differ by at most n rounding errors of the sum of
    // magnitudes on either side; then both round to float32.
    double[] size = new double[count];
    for (int i = 0; i < c.w.length; i++) {
      float u = Math.abs(c.w[i] / c.scales[i / c.spec.groupSize()]);
      size[i / c.spec.groupSize()] += Math.abs(c.g[i]) * Math.max(0.5, Math.min(u, c.spec.qn()));
    }
    for (int i = 0; i < count; i++) {
      size[i] *= c.scales[i];
      double sums = 2.3e-16 * c.spec.groupSize() * size[i];
      assertThat((double) dTheta[0][i])
          .isCloseTo(expected[i], within(sums + 0x1p-23 * Math.abs(expected[i]) + 1e-44));
    }
    float[] vector = poison(count);
    assertThat(gradient(VECTOR, c, vector)).isEqualTo(squares);
    for (int i = 0; i < count; i++) {
      assertThat((double) vector[i])
          .isCloseTo(expected[i], within(1e-7 * (1024 / 4 + 4) * size[i] + 1e-44));
    }
    assertThat(found).isCloseTo(squares, within(2.3e-16 * c.w.length * squares));
    float[] theta = new float[expected.length];
    float[] dW = new float[c.w.length];
    LsqGradient.apply(SCALAR, c.latent(), theta, c.g, 1, dW, new float[expected.length]);
    NativeTwins.give(
        dW,
        k -> {
          float[] out = c.g.clone();
          LsqGradient.apply(k, c.latent(), theta, out, 1, out, poison(expected.length));
          return out;
        });
  }

  @Property(tries = 60)
  void stepIsTheOneInJava(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 7) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 37) int rows,
      @ForAll boolean perTensor,
      @ForAll long seed) {
    Case c = Case.of(bits, group, groups, rows, perTensor, seed);
    float[] m = QuantizerTest.random(new Random(seed + 1), c.w.length);
    float[][] expected = step(VECTOR, c, m, Out.FRESH);
    for (Out out : Out.values()) {
      float[][] found = NativeTwins.same(k -> step(k, c, m, out));
      assertThat(step(VECTOR, c, m, out)).isEqualTo(found);
      for (int i = 0; i < 3; i++) {
        assertThat(found[i]).isEqualTo(expected[i]);
      }
      assertThat(found[3]).isEqualTo(out == Out.HALF ? halves(expected[3]) : expected[3]);
    }
    // The oracle computes in double precision: its float32 results are a few units away.
    float[][] exact = step(SCALAR, c, m, Out.FRESH);
    for (int i = 0; i < m.length; i++) {
      assertThat(expected[0][i]).isCloseTo(exact[0][i], within(1e-5f));
    }
  }

  /** Where a step leaves what the model computes with. */
  private enum Out {
    FRESH,
    GRADIENT,
    HALF
  }

  private static float[] halves(float[] values) {
    return Bf16.toFloats(Bf16.fromFloats(values));
  }

  /** Weights, moments and the quantized weights after a step. */
  private static float[][] step(Kernels k, Case c, float[] m, Out where) {
    float[] w = c.w.clone();
    float[] m1 = m.clone();
    float[] v = new float[w.length];
    for (int i = 0; i < v.length; i++) {
      v[i] = m[i] * m[i] * 0.7f;
    }
    float[] g = c.g.clone();
    float[] out = where == Out.GRADIENT ? g : poison(w.length);
    short[] half = new short[w.length];
    WeightCopy copy =
        where == Out.HALF ? new WeightCopy(MemorySegment.ofArray(half), true) : WeightCopy.of(out);
    k.training()
        .quantizedStep(
            STEP,
            new LatentWeight(w, c.rows, c.cols, c.spec),
            all(g),
            new Moments(m1, v),
            new ScaleStep(c.scales, c.after),
            copy);
    return new float[][] {w, m1, v, where == Out.HALF ? Bf16.toFloats(half) : out};
  }

  @Property(tries = 40)
  void plainStepAndNormAreTheOnesInJava(
      @ForAll @IntRange(min = 0, max = 70_000) int n, @ForAll long seed) {
    Random random = new Random(seed);
    float[] p = QuantizerTest.random(random, n);
    float[] g = QuantizerTest.random(random, n);
    float[][] expected = plain(VECTOR, p, g);
    NativeTwins.give(expected, k -> plain(k, p, g));
    assertThat(expected[3]).isEqualTo(expected[0]);
    assertThat(expected[4]).isEqualTo(halves(expected[0]));
    double squares = SCALAR.training().squares(all(g));
    double found = NativeTwins.same(k -> k.training().squares(all(g)));
    assertThat(found).isCloseTo(squares, within(2.3e-16 * n * squares));
  }

  private static float[][] plain(Kernels k, float[] p, float[] g) {
    float[][] out = {p.clone(), g.clone(), new float[p.length], poison(p.length), null};
    short[] half = new short[p.length];
    Moments moments = new Moments(out[1], out[2]);
    AdamW.step(k, new AdamW.Settings(1e-2, .9, .999, 1e-8, .1, 1, .5f), out[0], g, moments);
    AdamW.Settings two = new AdamW.Settings(1e-2, .9, .999, 1e-8, .1, 2, .5f);
    k.training().adamW(two, out[0], all(g), moments, null);
    float[][] again = {out[0].clone(), out[1].clone(), out[2].clone()};
    AdamW.Settings three = new AdamW.Settings(1e-2, .9, .999, 1e-8, .1, 3, .5f);
    k.training().adamW(three, out[0], all(g), moments, WeightCopy.of(out[3]));
    WeightCopy copy = new WeightCopy(MemorySegment.ofArray(half), true);
    k.training().adamW(three, again[0], all(g), new Moments(again[1], again[2]), copy);
    assertThat(again[0]).isEqualTo(out[0]);
    out[4] = Bf16.toFloats(half);
    return out;
  }

  private static MemorySegment all(float[] values) {
    return MemorySegment.ofArray(values);
  }

  /** Of all log-scales within reach, in steps; a run over each float32 finds no difference. */
  @Test
  void scalesAreTheExponentialsOfStrictMath() {
    int stride = 1009;
    for (float last : new float[] {-30f, 12f}) {
      int from = Float.floatToRawIntBits(last < 0 ? -0f : 0f);
      int n = (Float.floatToRawIntBits(last) - from) / stride;
      float[] theta = new float[n];
      float[] expected = new float[n];
      for (int i = 0; i < n; i++) {
        theta[i] = Float.intBitsToFloat(from + i * stride);
        expected[i] = Math.clamp((float) StrictMath.exp(theta[i]), 1e-8f, 1e4f);
      }
      NativeTwins.give(
          expected,
          k -> {
            float[] out = poison(n);
            k.quantizer().scales(theta, out);
            return out;
          });
      float[] out = poison(n);
      SCALAR.quantizer().scales(theta, out);
      assertThat(out).isEqualTo(expected);
    }
    for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
      assertThatThrownBy(() -> LogScaleQuantizer.scales(new float[] {0, 1, bad}))
          .hasMessage(
              "LogScaleQuantizer.scales: theta[2] is %s, allowed are finite numbers"
                  .formatted(bad));
    }
  }

  @Test
  void gradientThatIsNotFiniteIsSeen() {
    Case c = Case.of(4, 3, 2, 3, false, 1);
    for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
      for (float w : new float[] {0f, 1e6f}) { // passed and clipped
        c.g[17] = bad;
        c.w[17] = w;
        for (NativeKernels k : NativeTwins.all()) {
          float[] dTheta = new float[c.scales.length];
          assertThat(gradient(k, c, dTheta)).isNotFinite();
          assertThat(k.training().squares(all(c.g))).isNotFinite();
        }
        assertThat(gradient(SCALAR, c, new float[c.scales.length])).isNotFinite();
      }
    }
  }

  @Test
  void wrongArgumentsAreNamed() {
    Case c = Case.of(4, 3, 2, 3, false, 1);
    float[] w = c.w.clone();
    float[] v = new float[w.length];
    LatentWeight latent = new LatentWeight(w, 3, c.cols, c.spec);
    Moments moments = new Moments(v, v);
    assertThatThrownBy(
            () ->
                QuantizedStep.step(
                    STEP,
                    latent,
                    all(c.g),
                    moments,
                    new ScaleStep(c.scales, new float[6]),
                    WeightCopy.of(v)))
        .hasMessage("QuantizedStep: scales[0] is 0.0, allowed are finite positive numbers");
    assertThatThrownBy(
            () -> QuantizedStep.gradient(latent, c.scales, all(new float[5]), new float[6]))
        .hasMessage("QuantizedStep: g holds 5 elements, allowed is exactly 96");
    WeightCopy narrow = new WeightCopy(all(v), true);
    assertThatThrownBy(
            () ->
                QuantizedStep.step(
                    STEP, latent, all(c.g), moments, new ScaleStep(c.scales, c.after), narrow))
        .hasMessage("QuantizedStep: the copy holds 384 bytes, allowed is exactly 192");
    assertThatThrownBy(() -> AdamW.step(STEP, w, all(c.g), moments, narrow))
        .hasMessage("AdamW.step: the copy holds 384 bytes, allowed is exactly 192");
    assertThatThrownBy(() -> AdamW.step(STEP, w, all(c.g).asSlice(2), moments, null))
        .hasMessage("AdamW.step: g holds 95 elements, allowed is exactly 96");
    assertThatThrownBy(() -> new AdamW.Settings(1e-2, .9, 1, 1e-8, .1, 3, 1f))
        .hasMessageContaining("betas are 0.9 and 1.0");
    assertThat(w).isEqualTo(c.w);
  }

  /** The functions in C on their own: every wrong argument has its code, and nothing is touched. */
  @Test
  void everyWrongArgumentHasItsCode() {
    NativeTwins.all();
    NativeLibrary library = NativeLibrary.load();
    MethodHandle fake = library.onHeap("gk_fake_quantize", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    MethodHandle search =
        library.onHeap(
            "gk_search_scales",
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            JAVA_FLOAT,
            JAVA_FLOAT,
            ADDRESS);
    MethodHandle adamW =
        library.onHeap(
            "gk_adamw_step",
            ADDRESS,
            JAVA_LONG,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT);
    MethodHandle scales =
        library.onHeap("gk_scales", ADDRESS, JAVA_LONG, JAVA_FLOAT, JAVA_FLOAT, ADDRESS);
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment w = arena.allocateFrom(JAVA_FLOAT, 1, 2, 3, 4);
      MemorySegment s = arena.allocateFrom(JAVA_FLOAT, 1, 0);
      MemorySegment out = arena.allocateFrom(JAVA_FLOAT, 7, 7, 7, 7);
      MemorySegment ratios = arena.allocate(8 * 20);
      int[][] wrong = {
        {1, 1, 4, 2, 0}, {9, 1, 4, 2, 0}, {4, 0, 4, 2, 0}, {4, -1, 4, 2, 0}, {4, 1, -4, 2, 0},
        {4, 1, 4, 3, 0}, {4, 1, 4, 0, 0}, {4, 1, 4, 2, 1}, {4, 1, 4, 2, 2}, {4, 1 << 25, 4, 2, 0}
      };
      for (int[] shape : wrong) {
        MemorySegment g = arena.allocateFrom(JAVA_INT, shape);
        assertThat(code(fake, 0, g, w, s, out)).as(Arrays.toString(shape)).isEqualTo(-1);
      }
      MemorySegment g = arena.allocateFrom(JAVA_INT, 4, 1, 4, 2, 0);
      MemorySegment none = MemorySegment.NULL;
      assertThat(code(fake, 0, none, w, s, out)).isEqualTo(-2);
      assertThat(code(fake, 0, g, none, s, out)).isEqualTo(-2);
      assertThat(code(fake, 0, g, w, none, out)).isEqualTo(-2);
      assertThat(code(fake, 0, g, w, s, none)).isEqualTo(-2);
      assertThat(code(fake, -1, g, w, s, out)).isEqualTo(-5);
      assertThat(code(fake, 4, g, w, s, out)).isEqualTo(-5);
      assertThat(code(search, 0, w, -1L, 4L, 4, ratios, 1e-8f, 1f, out)).isEqualTo(-1);
      assertThat(code(search, 0, w, 1L, 0L, 4, ratios, 1e-8f, 1f, out)).isEqualTo(-1);
      assertThat(code(search, 0, w, 1L, 4L, 1, ratios, 1e-8f, 1f, out)).isEqualTo(-1);
      assertThat(code(search, 0, w, 1L, 4L, 4, ratios, Float.NaN, 1f, out)).isEqualTo(-1);
      assertThat(code(search, 0, w, 1L, 4L, 4, none, 1e-8f, 1f, out)).isEqualTo(-2);
      assertThat(code(search, 0, none, 0L, 4L, 4, none, 1e-8f, 1f, none)).isZero();
      assertThat(code(adamW, 0, w, -1L, w, w, w, w, out, 0)).isEqualTo(-1);
      assertThat(code(adamW, 0, none, 4L, w, w, w, w, out, 0)).isEqualTo(-2);
      assertThat(code(adamW, 9, w, 4L, w, w, w, w, out, 0)).isEqualTo(-5);
      assertThat(code(scales, 0, w, -1L, 1f, 2f, out)).isEqualTo(-1);
      assertThat(code(scales, 0, w, 4L, 2f, 1f, out)).isEqualTo(-1);
      assertThat(code(scales, 0, w, 4L, Float.NaN, 1f, out)).isEqualTo(-1);
      assertThat(code(scales, 0, none, 4L, 1f, 2f, out)).isEqualTo(-2);
      assertThat(code(scales, 0, w, 4L, 1f, 2f, none)).isEqualTo(-2);
      assertThat(code(scales, 9, w, 4L, 1f, 2f, out)).isEqualTo(-5);
      assertThat(out.toArray(JAVA_FLOAT)).containsOnly(7f);
      MemorySegment infinite = arena.allocateFrom(JAVA_FLOAT, 0, Float.POSITIVE_INFINITY, 0, 0);
      MemorySegment exponentials = arena.allocate(16);
      assertThat(code(scales, 0, infinite, 4L, 1f, 2f, exponentials)).isEqualTo(-7);
      // A scale of zero is useless, not a fault; the other group is right.
      assertThat(code(fake, 0, g, w, s, out)).isZero();
      assertThat(Arrays.copyOf(out.toArray(JAVA_FLOAT), 2)).containsExactly(1f, 2f);
    }
  }

  static int code(MethodHandle function, int isa, Object... arguments) {
    Object[] all = new Object[arguments.length + 2];
    all[0] = MemorySegment.NULL;
    all[1] = isa;
    System.arraycopy(arguments, 0, all, 2, arguments.length);
    return (int) NativeLibrary.call(function, all);
  }

  static float[] poison(int n) {
    float[] out = new float[n];
    Arrays.fill(out, Float.NaN);
    return out;
  }
}
