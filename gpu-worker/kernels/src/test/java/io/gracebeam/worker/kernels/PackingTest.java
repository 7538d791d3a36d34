package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Bit layout of packed weights. */
class PackingTest {
  private static byte[] pattern(int bits) {
    byte[] q = new byte[8 * 32];
    for (int o = 0; o < 8; o++) {
      for (int i = 0; i < 32; i++) {
        q[o * 32 + i] = (byte) ((3 * o + 5 * i) % (1 << bits) - (1 << (bits - 1)));
      }
    }
    return q;
  }

  @Test
  void fourBitWordsAreThoseOfCompressedTensors() {
    int[] words = Packing.pack(pattern(4), 8, 32, 4);
    assertThat(words).hasSize(8 * 4).startsWith(0x3e94fa50, 0xb61c72d8, 0x3e94fa50, 0xb61c72d8);
    // The first word of every row is the first row of the transposed layout.
    int[] first = {
      0x3e94fa50, 0x61c72d83, 0x94fa50b6, 0xc72d83e9, 0xfa50b61c, 0x2d83e94f, 0x50b61c72, 0x83e94fa5
    };
    for (int o = 0; o < 8; o++) {
      assertThat(words[o * 4]).isEqualTo(first[o]);
    }
  }

  @Test
  void threeBitWordsAreDense() {
    int[] words = Packing.pack(pattern(3), 8, 32, 3);
    assertThat(words).hasSize(8 * 3).startsWith(0xa878cea8, 0xcea878ce, 0x78cea878);
  }

  @Property(tries = 200)
  void unpackInvertsPack(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 1, max = 5) int rows,
      @ForAll @IntRange(min = 1, max = 131) int cols,
      @ForAll long seed) {
    Random random = new Random(seed);
    byte[] codes = new byte[rows * cols];
    for (int i = 0; i < codes.length; i++) {
      codes[i] = (byte) (random.nextInt(1 << bits) - (1 << (bits - 1)));
    }
    int[] words = Packing.pack(codes, rows, cols, bits);
    assertThat(words).hasSize(rows * ((cols * bits + 31) / 32));
    assertThat(Packing.unpack(words, rows, cols, bits)).isEqualTo(codes);
  }

  @Test
  void zeroPointsAreThoseOfCompressedTensors() {
    // z[o][k] = (o + k) mod 16 - 8 of 8 outputs and 2 groups.
    byte[] zeros = new byte[8 * 2];
    for (int i = 0; i < zeros.length; i++) {
      zeros[i] = (byte) ((i / 2 + i % 2) % 16 - 8);
    }
    assertThat(Packing.packDown(zeros, 8, 2, 4)).containsExactly(0x76543210, 0x87654321);
  }

  @Property(tries = 100)
  void unpackDownInvertsPackDown(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 1, max = 70) int rows,
      @ForAll @IntRange(min = 1, max = 6) int cols,
      @ForAll long seed) {
    Random random = new Random(seed);
    byte[] codes = new byte[rows * cols];
    for (int i = 0; i < codes.length; i++) {
      codes[i] = (byte) (random.nextInt(1 << bits) - (1 << (bits - 1)));
    }
    int[] words = Packing.packDown(codes, rows, cols, bits);
    assertThat(words).hasSize((rows * bits + 31) / 32 * cols);
    assertThat(Packing.unpackDown(words, rows, cols, bits)).isEqualTo(codes);
  }

  @Property(tries = 60)
  void packedWeightIsTheFakeQuantizedWeight(
      @ForAll @IntRange(min = 2, max = 8) int bits, @ForAll boolean perTensor, @ForAll long seed) {
    int rows = 5;
    int cols = 48;
    float[] w = QuantizerTest.random(new Random(seed), rows * cols);
    QuantSpec spec = QuantSpec.of(bits, 16, perTensor, rows, cols);
    float[] theta = LogScaleQuantizer.searchLogScales(w, rows, cols, spec);
    float[] fake = new float[w.length];
    LogScaleQuantizer.fakeQuantize(w, theta, rows, cols, spec, fake);
    PackedWeight packed = PackedWeight.quantize(w, theta, rows, cols, spec);
    assertThat(packed.dequantize()).isEqualTo(fake);
    assertThat(packed.scales()).hasSize(perTensor ? rows : rows * 3);
  }

  @Test
  void badInputIsRefused() {
    assertThatThrownBy(() -> Packing.pack(new byte[] {8}, 1, 1, 4))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("codes[0] is 8")
        .hasMessageContaining("-8 to 7");
    assertThatThrownBy(() -> Packing.unpack(new int[3], 1, 32, 4))
        .hasMessageContaining("words holds 3");
    assertThatThrownBy(() -> new PackedWeight(4, 8, 1, 8, new int[1], new float[] {Float.NaN}))
        .hasMessageContaining("scales[0] is NaN");
    assertThatThrownBy(() -> new PackedWeight(4, 3, 1, 8, new int[1], new float[] {1f}))
        .hasMessageContaining("groupSize");
    assertThatThrownBy(() -> new PackedWeight(9, 8, 1, 8, new int[1], new float[] {1f}))
        .hasMessageContaining("bits is 9");
    PackedWeight w = new PackedWeight(4, 8, 1, 8, new int[1], new float[] {1f});
    for (Kernels k : new Kernels[] {new ScalarKernels(), new VectorKernels(1)}) {
      assertThatThrownBy(() -> k.products().matmul(new float[7], 1, w, new float[1]))
          .hasMessageContaining("x holds 7");
      assertThatThrownBy(() -> k.products().matmul(new float[8], 1, w, new float[0]))
          .hasMessageContaining("y holds 0");
      assertThatThrownBy(() -> k.products().matmul(new float[8], -1, w, new float[1]))
          .hasMessageContaining("m is -1");
      float[] bad = new float[8];
      bad[2] = Float.POSITIVE_INFINITY;
      assertThatThrownBy(() -> k.products().matmul(bad, 1, w, new float[1]))
          .hasMessageContaining("x[2] is Infinity");
    }
    assertThat(w.bytes()).isEqualTo(8);
  }
}
