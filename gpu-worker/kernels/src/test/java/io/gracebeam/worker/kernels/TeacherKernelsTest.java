package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Statistics and selection of a teacher's logits in C against those in Java. */
class TeacherKernelsTest {
  private static final Kernels SCALAR = new ScalarKernels();

  @Property(tries = 80)
  void statisticsAndSelectionAreTheOracles(
      @ForAll @IntRange(min = 0, max = 9) int rows,
      @ForAll @IntRange(min = 2, max = 900) int vocab,
      @ForAll @IntRange(min = 1, max = 60) int k,
      @ForAll @IntRange(min = 0, max = 3) int temperature,
      @ForAll boolean ties,
      @ForAll @DoubleRange(min = 0.1, max = 9) double spread,
      @ForAll long seed) {
    Random random = new Random(seed);
    float[] z = LossKernelsTest.logits(random, rows * vocab, spread);
    for (int i = 0; ties && i < z.length; i++) {
      z[i] = Math.round(z[i]);
    }
    int[] y = LossKernelsTest.targets(random, rows, vocab);
    double t = LossKernelsTest.TEMPERATURES[temperature];
    int most = Math.min(k, vocab);
    TopK.Selection top = SCALAR.losses().topK(z, rows, vocab, most);
    NativeTwins.give(
        new Object[] {top.ids(), top.values()},
        n -> {
          TopK.Selection own = n.losses().topK(z, rows, vocab, most);
          return new Object[] {own.ids(), own.values()};
        });
    TeacherStatistics[] expected = SCALAR.losses().statistics(z, rows, vocab, y, t);
    TeacherStatistics[] found = NativeTwins.same(n -> n.losses().statistics(z, rows, vocab, y, t));
    for (int i = 0; i < rows; i++) {
      double far = LossKernelsTest.distance(z, i, vocab, y[i]) * Math.max(1, 1 / t);
      double e = LossKernelsTest.exponential(far);
      TeacherStatistics a = expected[i];
      TeacherStatistics b = found[i];
      double others = -Math.expm1(a.targetLogProb());
      assertThat(b.argmax()).isEqualTo(a.argmax());
      assertThat(b.logSumExp()).isCloseTo(a.logSumExp(), within(e + 1e-12));
      assertThat(b.targetLogProb()).isCloseTo(a.targetLogProb(), within(e * others + 1e-12));
      assertThat(b.nonTargetLogSumExp()).isCloseTo(a.nonTargetLogSumExp(), within(e + 1e-12));
      assertThat(b.topProbability()).isCloseTo(a.topProbability(), within(e));
      // Weights of the others' logarithms are off by e, and so are the two masses.
      double size = far + Math.abs(a.targetLogProb()) + Math.log(vocab);
      assertThat(b.entropy()).isCloseTo(a.entropy(), within(e * (2 + 2 * size)));
    }
  }

  @Test
  void wrongArgumentsAreNamed() {
    float[] nan = {1, Float.NaN};
    assertThatThrownBy(() -> TopK.selectRows(nan, 1, 2, 1)).hasMessageContaining("[1] is NaN");
    assertThatThrownBy(() -> TopK.selectRows(new float[4], 2, 2, 3))
        .hasMessageContaining("k is 3, allowed are 1 to 2");
    assertThatThrownBy(() -> TeacherStatistics.ofRows(new float[4], 2, 2, new int[] {0, 2}, 1))
        .hasMessageContaining("targets[1] is 2");
    assertThatThrownBy(() -> TeacherStatistics.ofRows(new float[4], -2, 2, new int[0], 1))
        .hasMessageContaining("rows is -2");
  }
}
