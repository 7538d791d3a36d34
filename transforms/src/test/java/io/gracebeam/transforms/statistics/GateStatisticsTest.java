package io.gracebeam.transforms.statistics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.apache.beam.sdk.util.SerializableUtils;
import org.junit.jupiter.api.Test;

class GateStatisticsTest {
  private static List<GateSample> samples(long seed, int n) {
    CounterRng rng = CounterRng.of(seed, 77);
    List<GateSample> list = new ArrayList<>();
    String[] types = {"open", "yesno", "count"};
    for (int i = 0; i < n; i++) {
      double h = rng.nextDouble();
      double error = rng.nextDouble() < h ? 1 : 0;
      list.add(new GateSample(types[rng.nextInt(3)], h * Math.log(100), 100, 1 - h, error));
    }
    return list;
  }

  private static GateStatistics of(List<GateSample> samples) {
    GateStatistics s = new GateStatistics();
    samples.forEach(s::add);
    return s;
  }

  @Property(tries = 60)
  void anyOrderAndSplitGivesTheSameBytes(
      @ForAll long seed, @ForAll @IntRange(min = 0, max = 80) int n) {
    List<GateSample> samples = samples(seed, n);
    byte[] expected = of(samples).toBytes();
    CounterRng rng = CounterRng.of(seed, 1);
    List<GateStatistics> parts = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      parts.add(new GateStatistics());
    }
    int[] order = java.util.stream.IntStream.range(0, n).toArray();
    rng.shuffle(order);
    for (int i : order) {
      parts.get(rng.nextInt(4)).add(samples.get(i));
    }
    while (parts.size() > 1) {
      GateStatistics taken = parts.remove(rng.nextInt(parts.size()));
      parts.get(rng.nextInt(parts.size())).merge(taken);
    }
    assertThat(parts.get(0).toBytes()).isEqualTo(expected);
    assertThat(GateStatistics.fromBytes(expected).toBytes()).isEqualTo(expected);
  }

  @Test
  void pearsonByHand() {
    // h = 0, .25, .5, 1 and error = 0, 0, 1, 1: r = .6875 ... computed below in doubles.
    double[] h = {0, 0.25, 0.5, 1};
    double[] e = {0, 0, 1, 1};
    GateStatistics s = new GateStatistics();
    for (int i = 0; i < 4; i++) {
      s.add(new GateSample("open", h[i] * Math.log(50), 50, 0.5, e[i]));
    }
    // cov = sum(he) - 4 mh me = 1.5 - .875 = .625; shh = 1.3125 - .765625 = .546875; see = 1
    GateStatistics.Figures f = s.figures().get(GateStatistics.ALL);
    assertThat(f.pearson()).isCloseTo(0.625 / Math.sqrt(0.546875), within(1e-8));
    assertThat(f.meanEntropy()).isCloseTo(0.4375, within(1e-9));
    assertThat(f.meanError()).isEqualTo(0.5);
    assertThat(f.calibrationError()).isCloseTo(0, within(1e-9));
    assertThat(f.binnedR2()).isNaN();
  }

  @Test
  void aCalibratedTeacherHasHighBinnedR2AndLowCalibrationError() {
    GateStatistics.Figures f = of(samples(3, 20_000)).figures().get(GateStatistics.ALL);
    // Error probability equals h uniform on [0, 1]: r = sd(h) / sd(error) = (1/sqrt 12) / .5.
    assertThat(f.pearson()).isCloseTo(2 / Math.sqrt(12), within(0.02));
    assertThat(f.binnedR2()).isGreaterThan(0.99);
    assertThat(f.calibrationError()).isLessThan(0.02);
    assertThat(f.entropyBins().stream().mapToLong(GateStatistics.Bin::count).sum())
        .isEqualTo(20_000);
  }

  @Test
  void anOverconfidentTeacherIsSeen() {
    GateStatistics s = new GateStatistics();
    for (int i = 0; i < 10; i++) {
      s.add(new GateSample("yesno", 0.1, 10, 0.9, i < 4 ? 1 : 0));
    }
    assertThat(s.figures().get("yesno").calibrationError()).isCloseTo(0.3, within(1e-8));
    assertThat(s.figures()).containsOnlyKeys("yesno", "all");
  }

  @Test
  void emptyIsNotANumberAndNotAnError() {
    GateStatistics.Figures f = new GateStatistics().figures().get(GateStatistics.ALL);
    assertThat(f.count()).isZero();
    assertThat(f.pearson()).isNaN();
    assertThat(f.calibrationError()).isNaN();
  }

  @Test
  void mergingWithItselfDoubles() {
    GateStatistics s = of(samples(1, 10));
    assertThat(s.merge(s).count()).isEqualTo(20);
  }

  @Test
  void badSamplesAndBytesAreRefused() {
    assertThatThrownBy(() -> new GateSample("a", Double.NaN, 10, 0.5, 0))
        .hasMessageContaining("entropy");
    assertThatThrownBy(() -> new GateSample("a", 5, 10, 0.5, 0)).hasMessageContaining("ln(10)");
    assertThatThrownBy(() -> new GateSample("a", 1, 10, 1.5, 0)).hasMessageContaining("confidence");
    assertThatThrownBy(() -> GateStatistics.fromBytes(new byte[] {1, 2}))
        .hasMessageContaining("not gate statistics");
  }

  @Test
  void worksAsACombineFn() throws Exception {
    GateStatisticsFn fn = SerializableUtils.ensureSerializable(new GateStatisticsFn());
    List<GateSample> samples = samples(2, 40);
    GateStatistics a = fn.createAccumulator();
    GateStatistics b = fn.createAccumulator();
    for (int i = 0; i < 40; i++) {
      fn.addInput(i % 3 == 0 ? a : b, samples.get(i));
    }
    GateStatistics merged = fn.extractOutput(fn.mergeAccumulators(List.of(b, a)));
    assertThat(merged).isEqualTo(of(samples));
    var coder = GateStatisticsFn.StatisticsCoder.of();
    coder.verifyDeterministic();
    assertThat(org.apache.beam.sdk.util.CoderUtils.clone(coder, merged)).isEqualTo(merged);
  }

  @Test
  void exactSumCarries() {
    ExactSum sum = new ExactSum();
    for (int i = 0; i < 5; i++) {
      sum.add(Long.MAX_VALUE);
    }
    sum.add(-3);
    assertThat(sum.toBigInteger())
        .isEqualTo(
            java.math.BigInteger.valueOf(Long.MAX_VALUE)
                .multiply(java.math.BigInteger.valueOf(5))
                .subtract(java.math.BigInteger.valueOf(3)));
    assertThat(sum.toDouble()).isEqualTo(sum.toBigInteger().doubleValue());
  }
}
