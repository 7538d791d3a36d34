package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** The Vector API kernels against the oracle, and their determinism. */
class KernelsTwinTest {
  private static final Kernels SCALAR = new ScalarKernels();
  private static final Kernels VECTOR = new VectorKernels(2);
  private static final int[] GROUPS = {1, 3, 8, 16, 24, 32, 40};

  private static PackedWeight packed(Random random, int bits, int group, int rows, int cols) {
    float[] w = QuantizerTest.random(random, rows * cols);
    QuantSpec spec = QuantSpec.of(bits, group, false, rows, cols);
    return PackedWeight.quantize(
        w, LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec), rows, cols, spec);
  }

  @Property(tries = 150)
  void productsAgreeAtAnySize(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 6) int group,
      @ForAll @IntRange(min = 1, max = 7) int groups,
      @ForAll @IntRange(min = 1, max = 37) int rows,
      @ForAll @IntRange(min = 0, max = 5) int m,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = GROUPS[group] * groups;
    PackedWeight w = packed(random, bits, GROUPS[group], rows, cols);
    float[] x = QuantizerTest.random(random, m * cols);
    float[] a = new float[m * rows];
    float[] b = new float[m * rows];
    SCALAR.matmul(x, m, w, a);
    VECTOR.matmul(x, m, w, b);
    close(a, b, cols);
    float[] da = new float[rows * cols];
    float[] db = new float[rows * cols];
    SCALAR.dequantize(w, da);
    VECTOR.dequantize(w, db);
    assertThat(db).isEqualTo(da);
    float[] c = new float[m * rows];
    SCALAR.dense(x, m, da, rows, cols, a);
    VECTOR.dense(x, m, da, rows, cols, c);
    close(a, c, cols);
    assertThat(c).as("packed and dense sum in the same order").isEqualTo(b);
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
      PackedWeight w = packed(random, bits, 128, rows, cols);
      float[] x = QuantizerTest.random(random, m * cols);
      float[] y = new float[m * rows];
      VECTOR.matmul(x, m, w, y);
      for (int threads : new int[] {1, 2, 3, 7}) {
        float[] other = new float[m * rows];
        new VectorKernels(threads).matmul(x, m, w, other);
        assertThat(other).as("threads %d", threads).isEqualTo(y);
      }
      for (int i = 0; i < m; i++) {
        float[] one = new float[rows];
        VECTOR.matmul(Arrays.copyOfRange(x, i * cols, (i + 1) * cols), 1, w, one);
        assertThat(one).as("row %d", i).isEqualTo(Arrays.copyOfRange(y, i * rows, (i + 1) * rows));
      }
    }
  }

  @Property(tries = 80)
  void quantiserAndGradientAgree(
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
    float[] a = new float[n];
    float[] b = new float[n];
    SCALAR.fakeQuantize(w, theta, rows, cols, spec, a);
    VECTOR.fakeQuantize(w, theta, rows, cols, spec, b);
    assertThat(b).isEqualTo(a);
    float[] ta = new float[theta.length];
    float[] tb = new float[theta.length];
    SCALAR.lsqGradient(w, theta, up, rows, cols, spec, 1, a, ta);
    VECTOR.lsqGradient(w, theta, up, rows, cols, spec, 1, b, tb);
    assertThat(b).isEqualTo(a);
    for (int i = 0; i < ta.length; i++) {
      assertThat(tb[i]).isCloseTo(ta[i], within(2e-6f * spec.groupSize() * spec.qn()));
    }
  }

  @Property(tries = 40)
  void optimiserAgrees(@ForAll @IntRange(min = 0, max = 70) int n, @ForAll long seed) {
    Random random = new Random(seed);
    float[][] a = new float[3][n];
    a[0] = QuantizerTest.random(random, n);
    float[][] b = {a[0].clone(), new float[n], new float[n]};
    for (int t = 1; t <= 5; t++) {
      float[] g = QuantizerTest.random(random, n);
      SCALAR.adamW(a[0], g, a[1], a[2], 1e-2, .9, .999, 1e-8, .1, t, .5f);
      VECTOR.adamW(b[0], g, b[1], b[2], 1e-2, .9, .999, 1e-8, .1, t, .5f);
    }
    for (int i = 0; i < n; i++) {
      assertThat(b[0][i]).isCloseTo(a[0][i], within(1e-5f));
      assertThat(b[2][i]).isCloseTo(a[2][i], within(1e-5f));
    }
  }

  @Test
  void largeOptimiserStepIsTheSameForAnyThreads() {
    int n = 50_001;
    float[] g = QuantizerTest.random(new Random(3), n);
    float[] p1 = QuantizerTest.random(new Random(4), n);
    float[] p2 = p1.clone();
    new VectorKernels(1).adamW(p1, g, new float[n], new float[n], .1, .9, .99, 1e-8, 0, 1, 1f);
    new VectorKernels(3).adamW(p2, g, new float[n], new float[n], .1, .9, .99, 1e-8, 0, 1, 1f);
    assertThat(p2).isEqualTo(p1);
  }

  @Test
  void providerExplainsItsChoice() {
    assertThat(KernelProvider.choose("scalar").kernels().name()).isEqualTo("scalar");
    assertThat(KernelProvider.choose("scalar").why()).contains("grace.kernels=scalar");
    assertThat(KernelProvider.choose("vector").kernels().name()).isEqualTo("vector");
    assertThat(KernelProvider.choose(null).why()).contains("present").contains("lanes");
    assertThat(KernelProvider.explain()).contains(KernelProvider.best().name());
    assertThat(KernelProvider.oracle().name()).isEqualTo("scalar");
    assertThatThrownBy(() -> KernelProvider.choose("cuda"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("'cuda'")
        .hasMessageContaining("scalar and vector");
  }
}
