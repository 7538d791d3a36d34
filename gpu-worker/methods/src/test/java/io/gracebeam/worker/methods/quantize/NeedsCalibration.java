package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import java.util.Set;

/** A quantizer that an export cannot serve. */
public final class NeedsCalibration implements Quantizer {
  /** For the service loader. */
  public NeedsCalibration() {}

  @Override
  public String name() {
    return "needs-calibration";
  }

  @Override
  public Set<Statistic> needs() {
    return Set.of(Statistic.SECOND_MOMENTS);
  }

  @Override
  public QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme) {
    throw GraceException.bug("called without the statistics that it needs");
  }
}
