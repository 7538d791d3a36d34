package io.gracebeam.worker.methods.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Rounding with zero points. */
class MinMaxRoundingTest {
  /** Codes and zero points of GPTQ's reference (unsigned there), weights in units of 1/32. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "4 | -14 3 9 -5 20 -1 11 2 | .0708333 | 6 | 0 7 10 4 15 6 11 7",
        "3 | -14 3 9 -5 20 -1 11 2 | .1517857 | 3 | 0 4 5 2 7 3 5 3",
        "4 | 4 3 9 5 20 1 11 2 | .0416667 | 0 | 3 2 7 4 15 1 8 2"
      })
  void roundsAsTheReferenceDoes(int bits, String weights, float scale, int zero, String codes) {
    String[] numbers = weights.split(" ");
    float[] w = new float[numbers.length];
    for (int i = 0; i < w.length; i++) {
      w[i] = Integer.parseInt(numbers[i]) / 32f;
    }
    PackedWeight made =
        MinMaxRounding.round(w, 1, w.length, QuantSpec.of(bits, -1, false, 1, w.length));
    assertThat(made.scales()[0]).isCloseTo(scale, within(1e-6f));
    int center = 1 << (bits - 1);
    assertThat(made.zeros()[0] + center).isEqualTo(zero);
    byte[] found = made.unpack();
    String[] expected = codes.split(" ");
    for (int i = 0; i < found.length; i++) {
      assertThat(found[i] + center).as("code %d", i).isEqualTo(Integer.parseInt(expected[i]));
    }
  }

  @Property(tries = 100)
  void noWeightMovesByMoreThanAStepAndTheSearchIsNoWorse(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 1, max = 40) int group,
      @ForAll @IntRange(min = -3, max = 3) int shift,
      @ForAll long seed) {
    Random random = new Random(seed);
    int cols = 3 * group;
    float[] w = new float[2 * cols];
    for (int i = 0; i < w.length; i++) {
      w[i] = (float) random.nextGaussian() + shift;
    }
    QuantSpec spec = QuantSpec.of(bits, group, false, 2, cols);
    PackedWeight whole = MinMaxRounding.round(w, 2, cols, spec);
    float[] back = whole.dequantize();
    for (int i = 0; i < w.length; i++) {
      // Half a step of its own and half a step of the zero point.
      float step = whole.scales()[i / group];
      assertThat(back[i]).isCloseTo(w[i], within(1.001f * step));
    }
    PackedWeight searched = MinMaxRounding.search(w, 2, cols, spec);
    assertThat(searched.symmetric()).isFalse();
    assertThat(error(w, searched.dequantize())).isLessThanOrEqualTo(error(w, back) + 1e-9);
  }

  private static double error(float[] a, float[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += Math.pow(a[i] - b[i], 2);
    }
    return sum;
  }

  @ParameterizedTest
  @CsvSource({"0", "0.5", "-0.5"})
  void groupsOfEqualWeightsAreKept(float value) {
    float[] w = new float[8];
    java.util.Arrays.fill(w, value);
    PackedWeight made = MinMaxRounding.round(w, 1, 8, QuantSpec.of(4, 4, false, 1, 8));
    for (float found : made.dequantize()) {
      assertThat(found).isCloseTo(value, within(1e-6f));
    }
  }
}
