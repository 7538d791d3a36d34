package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** The Vector API kernels against the oracle, and their determinism. */
class KernelsTwinTest {
  private static final Kernels SCALAR = new ScalarKernels();
  private static final Kernels VECTOR = new VectorKernels(2);
  private static final List<Kernels> NATIVE = natives();
  private static final int[] GROUPS = {1, 3, 8, 16, 24, 32, 40, 260};

  /** A weight; narrow ones have scales that are bfloat16 numbers. */
  private static PackedWeight packed(
      Random random, int bits, int group, int rows, int cols, boolean narrow) {
    float[] w = QuantizerTest.random(random, rows * cols);
    QuantSpec spec = QuantSpec.of(bits, group, false, rows, cols);
    PackedWeight out =
        PackedWeight.quantize(
            w, LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec), rows, cols, spec);
    for (int i = 0; narrow && i < out.scales().length; i++) {
      int raw = Float.floatToRawIntBits(out.scales()[i]);
      out.scales()[i] = Float.intBitsToFloat(raw & 0xffff0000);
    }
    return out;
  }

  @Property(tries = 150)
  void productsAgreeAtAnySize(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 7) int group,
      @ForAll @IntRange(min = 1, max = 7) int groups,
      @ForAll @IntRange(min = 1, max = 37) int rows,
      @ForAll @IntRange(min = 0, max = 5) int m,
      @ForAll boolean narrow,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = GROUPS[group] * groups;
    PackedWeight w = packed(random, bits, GROUPS[group], rows, cols, narrow);
    float[] x = QuantizerTest.random(random, m * cols);
    float[] a = new float[m * rows];
    SCALAR.products().matmul(x, m, w, a);
    for (Kernels k : twins()) {
      float[] b = new float[m * rows];
      Arrays.fill(b, Float.NaN);
      k.products().matmul(x, m, w, b);
      assertThat(b).as(k.name()).isEqualTo(a);
    }
    float[] da = new float[rows * cols];
    float[] db = new float[rows * cols];
    SCALAR.products().dequantize(w, da);
    VECTOR.products().dequantize(w, db);
    assertThat(db).isEqualTo(da);
    float[] c = new float[m * rows];
    float[] d = new float[m * rows];
    SCALAR.products().dense(x, m, da, rows, cols, c);
    VECTOR.products().dense(x, m, da, rows, cols, d);
    close(c, d, cols);
    rounded(x, m, w, da, a, c);
  }

  /**
   * The product with rounded inputs against the exact one: half a step of a run for each input, and
   * float32's own rounding once a run.
   */
  static void rounded(
      float[] x, int m, PackedWeight w, float[] dense, float[] found, float[] exact) {
    int cols = w.cols();
    for (int i = 0; i < m; i++) {
      for (int r = 0; r < w.rows(); r++) {
        double bound = 0;
        double sum = 0;
        for (int k = 0; k < cols; k += w.run()) {
          double absmax = 0;
          double weights = 0;
          for (int c = k; c < k + w.run(); c++) {
            absmax = Math.max(absmax, Math.abs(x[i * cols + c]));
            weights += Math.abs(dense[r * cols + c]);
            sum += Math.abs(x[i * cols + c] * dense[r * cols + c]);
          }
          bound += 0.5001 * absmax / 32639 * weights;
        }
        bound += sum * 1e-7 * (3 + cols / w.run());
        assertThat(found[i * w.rows() + r])
            .as("input %d, row %d", i, r)
            .isCloseTo(exact[i * w.rows() + r], within((float) bound));
      }
    }
  }

  /** Every fast version of products with packed weights that this machine has. */
  static List<Kernels> twins() {
    List<Kernels> out = new ArrayList<>(List.of(VECTOR));
    out.addAll(NATIVE);
    return out;
  }

  /** The native kernels with every instruction set; none where the build left them out. */
  private static List<Kernels> natives() {
    List<Kernels> out = new ArrayList<>();
    try {
      NativeLibrary library = NativeLibrary.load();
      for (int isa = 0; isa <= library.bestIsa(); isa++) {
        out.add(new NativeKernels(library, isa, 1 + isa, SCALAR.products()));
      }
    } catch (UnsupportedOperationException e) {
      System.err.println("KernelsTwinTest: without native kernels: " + e.getMessage());
    }
    return out;
  }

  private static void close(float[] a, float[] b, int cols) {
    for (int i = 0; i < a.length; i++) {
      assertThat(b[i]).as("element %d", i).isCloseTo(a[i], within(1e-5f * cols));
    }
  }

  @Test
  void bitsDependNeitherOnThreadsNorOnTheNumberOfInputs() {
    Random random = new Random(1);
    int rows = 203;
    int cols = 384;
    int m = 9;
    for (int bits : new int[] {2, 3, 4, 8}) {
      PackedWeight w = packed(random, bits, 128, rows, cols, false);
      float[] x = QuantizerTest.random(random, m * cols);
      float[] y = new float[m * rows];
      VECTOR.products().matmul(x, m, w, y);
      for (int threads : new int[] {1, 2, 3, 7}) {
        float[] other = new float[m * rows];
        new VectorKernels(threads).products().matmul(x, m, w, other);
        assertThat(other).as("threads %d", threads).isEqualTo(y);
      }
      for (Kernels k : NATIVE) {
        try (PackedMatrix matrix = k.products().open(w)) {
          float[] other = new float[m * rows];
          matrix.multiply(x, m, other);
          assertThat(other).as("native").isEqualTo(y);
        }
      }
      for (int i = 0; i < m; i++) {
        float[] one = new float[rows];
        VECTOR.products().matmul(Arrays.copyOfRange(x, i * cols, (i + 1) * cols), 1, w, one);
        assertThat(one).as("row %d", i).isEqualTo(Arrays.copyOfRange(y, i * rows, (i + 1) * rows));
      }
    }
  }

  @Property(tries = 80)
  void quantizerAndGradientAgree(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 6) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 9) int rows,
      @ForAll boolean perTensor,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = GROUPS[group] * groups;
    int n = rows * cols;
    QuantSpec spec = QuantSpec.of(bits, GROUPS[group], perTensor, rows, cols);
    float[] w = QuantizerTest.random(random, n);
    float[] up = QuantizerTest.random(random, n);
    float[] theta = new float[spec.groups(rows, cols)];
    for (int i = 0; i < theta.length; i++) {
      theta[i] = random.nextFloat() * 2 - 2;
    }
    LatentWeight latent = new LatentWeight(w, rows, cols, spec);
    float[] a = new float[n];
    float[] b = new float[n];
    LogScaleQuantizer.fakeQuantize(SCALAR, latent, theta, a);
    LogScaleQuantizer.fakeQuantize(VECTOR, latent, theta, b);
    assertThat(b).isEqualTo(a);
    float[] ta = new float[theta.length];
    float[] tb = new float[theta.length];
    LsqGradient.apply(SCALAR, latent, theta, up, 1, a, ta);
    LsqGradient.apply(VECTOR, latent, theta, up, 1, b, tb);
    assertThat(b).isEqualTo(a);
    for (int i = 0; i < ta.length; i++) {
      assertThat(tb[i]).isCloseTo(ta[i], within(2e-6f * spec.groupSize() * spec.qn()));
    }
  }

  @Property(tries = 40)
  void optimizerAgrees(@ForAll @IntRange(min = 0, max = 70) int n, @ForAll long seed) {
    Random random = new Random(seed);
    float[][] a = new float[3][n];
    a[0] = QuantizerTest.random(random, n);
    float[][] b = {a[0].clone(), new float[n], new float[n]};
    for (int t = 1; t <= 5; t++) {
      float[] g = QuantizerTest.random(random, n);
      AdamW.Settings s = new AdamW.Settings(1e-2, .9, .999, 1e-8, .1, t, .5f);
      AdamW.step(SCALAR, s, a[0], g, new Moments(a[1], a[2]));
      AdamW.step(VECTOR, s, b[0], g, new Moments(b[1], b[2]));
    }
    for (int i = 0; i < n; i++) {
      assertThat(b[0][i]).isCloseTo(a[0][i], within(1e-5f));
      assertThat(b[2][i]).isCloseTo(a[2][i], within(1e-5f));
    }
  }

  @Test
  void largeOptimizerStepIsTheSameForAnyThreads() {
    int n = 50_001;
    float[] g = QuantizerTest.random(new Random(3), n);
    float[] p1 = QuantizerTest.random(new Random(4), n);
    float[] p2 = p1.clone();
    AdamW.Settings s = new AdamW.Settings(.1, .9, .99, 1e-8, 0, 1, 1f);
    AdamW.step(new VectorKernels(1), s, p1, g, Moments.zeros(n));
    AdamW.step(new VectorKernels(3), s, p2, g, Moments.zeros(n));
    assertThat(p2).isEqualTo(p1);
  }

  @Test
  void opposedInputsAndEmptyRunsAreExact() {
    // Largest codes by largest inputs of both signs, a run of zeros, one of values below float's
    // normal range.
    int cols = 4 * 128;
    byte[] codes = new byte[cols];
    float[] x = new float[cols];
    for (int c = 0; c < cols; c++) {
      codes[c] = (byte) (c % 2 == 0 ? -128 : 127);
      x[c] = c < 128 ? (c % 2 == 0 ? -3e38f : 3e38f) : c < 256 ? 0f : c < 384 ? 1e-42f : 1f;
    }
    float[] scales = {1e-38f, 1f, 1f, 1f};
    PackedWeight w = PackedWeight.pack(codes, scales, 1, cols, new QuantSpec(8, 128, false));
    float[] expected = new float[1];
    SCALAR.products().matmul(x, 1, w, expected);
    assertThat(expected[0]).isCloseTo(64 * 255 * 3f - 64f, within(0.1f));
    for (Kernels k : twins()) {
      float[] y = new float[1];
      k.products().matmul(x, 1, w, y);
      assertThat(y).as(k.name()).isEqualTo(expected);
    }
  }

  @Test
  void refusedInputLeavesTheOutputAlone() {
    PackedWeight w = packed(new Random(5), 4, 8, 20, 16, true);
    for (Kernels k : twins()) {
      try (PackedMatrix matrix = k.products().open(w)) {
        float[] x = new float[32];
        x[17] = Float.NaN;
        float[] y = new float[40];
        assertThatThrownBy(() -> matrix.multiply(x, 2, y))
            .hasMessage("matmul: x[17] is NaN, allowed are finite numbers");
        assertThatThrownBy(() -> matrix.multiply(x, 3, y)).hasMessageContaining("at least 48");
        assertThat(y).as(k.name()).containsOnly(0f);
        assertThat(matrix.bytes()).isPositive();
      }
    }
  }

  @Test
  void manyThreadsMayUseOneMatrix() {
    Random random = new Random(6);
    PackedWeight w = packed(random, 4, 32, 300, 256, true);
    float[] x = QuantizerTest.random(random, 3 * 256);
    float[] expected = new float[900];
    SCALAR.products().matmul(x, 3, w, expected);
    for (Kernels k : twins()) {
      try (PackedMatrix matrix = k.products().open(w)) {
        java.util.stream.IntStream.range(0, 64)
            .parallel()
            .forEach(
                i -> {
                  float[] y = new float[900];
                  matrix.multiply(x, 3, y);
                  assertThat(y).as(k.name()).isEqualTo(expected);
                });
      }
    }
  }

  @Test
  void providerExplainsItsChoice() {
    assertThat(KernelProvider.choose("scalar").kernels().name()).isEqualTo("scalar");
    assertThat(KernelProvider.choose("scalar").why()).contains("grace.kernels=scalar");
    assertThat(KernelProvider.choose("vector").kernels().name()).isEqualTo("vector");
    assertThat(KernelProvider.choose("vector").why()).contains("lanes");
    assertThat(KernelProvider.choose(null).kernels().name())
        .isEqualTo(NATIVE.size() > 1 ? "native" : "vector");
    assertThat(KernelProvider.explain()).contains(KernelProvider.best().name());
    assertThat(KernelProvider.oracle().name()).isEqualTo("scalar");
    assertThatThrownBy(() -> KernelProvider.choose("cuda"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("'cuda'")
        .hasMessageContaining("scalar, vector and native");
  }
}
