package io.gracebeam.transforms.statistics;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import org.apache.beam.sdk.coders.AtomicCoder;
import org.apache.beam.sdk.coders.ByteArrayCoder;
import org.apache.beam.sdk.coders.Coder;
import org.apache.beam.sdk.coders.CoderRegistry;
import org.apache.beam.sdk.transforms.Combine;

/** Combines {@link GateSample}s into {@link GateStatistics}; the order of merging is irrelevant. */
public final class GateStatisticsFn
    extends Combine.CombineFn<GateSample, GateStatistics, GateStatistics> {
  private static final long serialVersionUID = 1L;

  /** The deterministic coder of {@link GateStatistics}. */
  public static final class StatisticsCoder extends AtomicCoder<GateStatistics> {
    private static final long serialVersionUID = 1L;

    /** A new coder. */
    public static StatisticsCoder of() {
      return new StatisticsCoder();
    }

    @Override
    public void encode(GateStatistics value, OutputStream out) throws IOException {
      ByteArrayCoder.of().encode(value.toBytes(), out);
    }

    @Override
    public GateStatistics decode(InputStream in) throws IOException {
      return GateStatistics.fromBytes(ByteArrayCoder.of().decode(in));
    }
  }

  @Override
  public GateStatistics createAccumulator() {
    return new GateStatistics();
  }

  @Override
  public GateStatistics addInput(GateStatistics accumulator, GateSample input) {
    accumulator.add(input);
    return accumulator;
  }

  @Override
  public GateStatistics mergeAccumulators(Iterable<GateStatistics> accumulators) {
    GateStatistics result = new GateStatistics();
    for (GateStatistics accumulator : accumulators) {
      result.merge(accumulator);
    }
    return result;
  }

  @Override
  public GateStatistics extractOutput(GateStatistics accumulator) {
    return accumulator;
  }

  @Override
  public Coder<GateStatistics> getAccumulatorCoder(
      CoderRegistry registry, Coder<GateSample> inputCoder) {
    return StatisticsCoder.of();
  }

  @Override
  public Coder<GateStatistics> getDefaultOutputCoder(
      CoderRegistry registry, Coder<GateSample> inputCoder) {
    return StatisticsCoder.of();
  }
}
