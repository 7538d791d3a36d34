package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import net.jqwik.api.Assume;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Packed weights with zero points, in all kernels of this machine. */
class ZeroPointsTest {
  private static final Kernels SCALAR = new ScalarKernels();
  private static final List<Kernels> TWINS = KernelsTwinTest.twins();
  private static final int[] BITS = {2, 3, 4, 8};
  private static final int[] GROUPS = {32, 64, 128, -1};

  /** A weight of random codes; the zero points are in the whole range of codes. */
  private static PackedWeight random(
      Random random, int bits, int group, int rows, int cols, boolean narrow) {
    QuantSpec spec = QuantSpec.of(bits, group, false, rows, cols);
    byte[] codes = codes(random, bits, rows * cols);
    float[] scales = new float[spec.groups(rows, cols)];
    for (int i = 0; i < scales.length; i++) {
      float scale = (float) Math.exp(random.nextGaussian() - 3);
      int raw = Float.floatToRawIntBits(scale);
      scales[i] = narrow ? Float.intBitsToFloat(raw & 0xffff0000) : scale;
    }
    return PackedWeight.pack(codes, scales, codes(random, bits, scales.length), rows, cols, spec);
  }

  private static byte[] codes(Random random, int bits, int n) {
    byte[] out = new byte[n];
    for (int i = 0; i < n; i++) {
      out[i] = (byte) (random.nextInt(1 << bits) - (1 << (bits - 1)));
    }
    return out;
  }

  private static float[] product(Kernels kernels, float[] x, int m, PackedWeight w) {
    float[] y = new float[m * w.rows()];
    Arrays.fill(y, Float.NaN);
    kernels.products().matmul(x, m, w, y);
    return y;
  }

  @Property(tries = 200)
  void allKernelsGiveTheOraclesBits(
      @ForAll @IntRange(min = 0, max = 3) int bits,
      @ForAll @IntRange(min = 0, max = 3) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 37) int rows,
      @ForAll @IntRange(min = 1, max = 40) int m,
      @ForAll boolean narrow,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = group == 3 ? 40 * groups : GROUPS[group] * groups;
    PackedWeight w = random(random, BITS[bits], GROUPS[group], rows, cols, narrow);
    float[] x = QuantizerTest.random(random, m * cols);
    float[] expected = product(SCALAR, x, m, w);
    for (Kernels kernels : TWINS) {
      assertThat(product(kernels, x, m, w)).as(kernels.name()).isEqualTo(expected);
    }
    float[] dense = new float[rows * cols];
    SCALAR.products().dequantize(w, dense);
    assertThat(w.dequantize()).isEqualTo(dense);
    float[] row = new float[cols];
    w.row(rows - 1, row, 0);
    assertThat(row).isEqualTo(Arrays.copyOfRange(dense, (rows - 1) * cols, rows * cols));
    KernelsTwinTest.rounded(x, m, w, dense, expected, product(x, m, dense, rows, cols));
  }

  private static float[] product(float[] x, int m, float[] w, int rows, int cols) {
    float[] y = new float[m * rows];
    SCALAR.products().dense(x, m, w, rows, cols, y);
    return y;
  }

  @Property(tries = 60)
  void awkwardGroupsAreServedToo(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 1, max = 300) int group,
      @ForAll @IntRange(min = 1, max = 3) int groups,
      @ForAll @IntRange(min = 1, max = 19) int rows,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = group * groups;
    PackedWeight w = random(random, bits, group, rows, cols, false);
    float[] x = QuantizerTest.random(random, 3 * cols);
    float[] expected = product(SCALAR, x, 3, w);
    for (Kernels kernels : TWINS) {
      assertThat(product(kernels, x, 3, w)).as(kernels.name()).isEqualTo(expected);
    }
  }

  @Property(tries = 60)
  void zeroPointsAtTheCenterAreTheSymmetricWeight(
      @ForAll @IntRange(min = 0, max = 3) int bits,
      @ForAll @IntRange(min = 1, max = 20) int rows,
      @ForAll @IntRange(min = 1, max = 33) int m,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = 192;
    PackedWeight some = random(random, BITS[bits], 64, rows, cols, false);
    PackedWeight symmetric =
        new PackedWeight(some.bits(), 64, rows, cols, some.words(), some.scales());
    PackedWeight centered =
        new PackedWeight(
            some.bits(), 64, rows, cols, some.words(), some.scales(), new byte[rows * 3]);
    assertThat(symmetric.symmetric()).isTrue();
    assertThat(centered.symmetric()).isFalse();
    float[] x = QuantizerTest.random(random, m * cols);
    float[] expected = product(SCALAR, x, m, symmetric);
    assertThat(product(SCALAR, x, m, centered)).isEqualTo(expected);
    for (Kernels kernels : TWINS) {
      assertThat(product(kernels, x, m, centered)).as(kernels.name()).isEqualTo(expected);
    }
    assertThat(centered.dequantize()).isEqualTo(symmetric.dequantize());
  }

  @Property(tries = 60)
  void aShiftOfCodesAndZeroPointsChangesNothing(
      @ForAll @IntRange(min = 2, max = 7) int bits, @ForAll long seed) {
    Random random = new Random(seed);
    int cols = 96;
    PackedWeight narrow = random(random, bits, 32, 5, cols, true);
    int shift = random.nextInt(3) - 1;
    Assume.that(shift != 0);
    byte[] codes = narrow.unpack();
    for (int i = 0; i < codes.length; i++) {
      codes[i] += (byte) shift;
    }
    byte[] zeros = narrow.zeros().clone();
    for (int i = 0; i < zeros.length; i++) {
      zeros[i] += (byte) shift;
    }
    PackedWeight shifted =
        PackedWeight.pack(
            codes, narrow.scales(), zeros, 5, cols, new QuantSpec(bits + 1, 32, false));
    float[] x = QuantizerTest.random(random, 2 * cols);
    float[] expected = product(SCALAR, x, 2, narrow);
    for (Kernels kernels : TWINS) {
      assertThat(product(kernels, x, 2, shifted)).as(kernels.name()).isEqualTo(expected);
    }
  }

  @Test
  void extremeCodesAndZeroPointsAreExact() {
    // Every term of a run has the largest magnitude: 255 times the largest rounded input.
    int cols = 2 * 128;
    byte[] codes = new byte[cols];
    float[] x = new float[cols];
    for (int c = 0; c < cols; c++) {
      codes[c] = (byte) (c < 128 ? 127 : -128);
      x[c] = c < 128 ? 1f : -1f;
    }
    PackedWeight w =
        PackedWeight.pack(
            codes,
            new float[] {1f, 1f},
            new byte[] {-128, 127},
            1,
            cols,
            new QuantSpec(8, 128, false));
    float[] expected = product(SCALAR, x, 1, w);
    assertThat(expected[0]).isCloseTo(2 * 255 * 128f, within(0.1f));
    float[] many = new float[32 * cols];
    for (int i = 0; i < 32; i++) {
      System.arraycopy(x, 0, many, i * cols, cols);
    }
    for (Kernels kernels : TWINS) {
      assertThat(product(kernels, x, 1, w)).as(kernels.name()).isEqualTo(expected);
      assertThat(product(kernels, many, 32, w)).as(kernels.name()).containsOnly(expected[0]);
    }
  }

  @Test
  void aPerTensorZeroPointIsThatOfEveryRow() {
    QuantSpec spec = QuantSpec.of(4, -1, true, 3, 8);
    PackedWeight w = PackedWeight.pack(new byte[24], new float[] {2f}, new byte[] {-3}, 3, 8, spec);
    assertThat(w.zeros()).containsExactly(-3, -3, -3);
    assertThat(w.dequantize()).containsOnly(6f);
  }

  @Test
  void weightsBelowEachOtherKeepTheirZeroPoints() {
    Random random = new Random(8);
    PackedWeight a = random(random, 4, 32, 3, 64, false);
    PackedWeight b = random(random, 4, 32, 2, 64, false);
    float[] both = PackedWeight.stack(a, b).dequantize();
    assertThat(Arrays.copyOf(both, 3 * 64)).isEqualTo(a.dequantize());
    assertThat(Arrays.copyOfRange(both, 3 * 64, 5 * 64)).isEqualTo(b.dequantize());
    PackedWeight symmetric = new PackedWeight(4, 32, 2, 64, b.words(), b.scales());
    assertThatThrownBy(() -> PackedWeight.stack(a, symmetric))
        .hasMessageContaining("zero points in all or none");
  }

  @Test
  void badZeroPointsAreRefused() {
    int[] words = new int[1];
    float[] scales = {1f};
    assertThatThrownBy(() -> new PackedWeight(4, 8, 1, 8, words, scales, new byte[2]))
        .hasMessageContaining("zeros holds 2");
    assertThatThrownBy(() -> new PackedWeight(4, 8, 1, 8, words, scales, new byte[] {8}))
        .hasMessageContaining("zeros[0] is 8, allowed are -8 to 7");
    // Zero points are packed like codes, along the rows.
    assertThat(new PackedWeight(4, 8, 1, 8, words, scales).bytes()).isEqualTo(8);
    assertThat(new PackedWeight(4, 8, 1, 8, words, scales, new byte[1]).bytes()).isEqualTo(12);
  }
}
