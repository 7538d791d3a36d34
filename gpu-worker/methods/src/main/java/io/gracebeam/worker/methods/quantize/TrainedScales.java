package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.model.Part;
import java.util.Optional;
import java.util.Set;

/**
 * Rounds the decoder with the log-scales that were trained with it (LSQ). Other parts, which are
 * not trained with scales, are rounded to nearest: with the largest weight's scales at 8 bits,
 * since the search's grid has no ratio at 1 and clipping wins nothing there; with searched ones
 * below.
 */
public final class TrainedScales implements Quantizer {
  private static final int WIDE = 8;

  /** For the service loader. */
  public TrainedScales() {}

  @Override
  public String name() {
    return "trained";
  }

  @Override
  public Set<Statistic> needs() {
    return Set.of(Statistic.TRAINED_SCALES);
  }

  @Override
  public QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme) {
    return QuantizedBlock.each(
        block,
        (linear, w) -> {
          if (block.part() == Part.DECODER) {
            return trained(linear, w, statistics.logScales(linear.weight()), scheme);
          }
          return scheme.bits() == WIDE
              ? RoundToNearest.round(linear, w, scheme)
              : SearchedScales.round(linear, w, scheme);
        });
  }

  private static PackedWeight trained(
      Linear linear, float[] w, Optional<float[]> theta, QuantScheme scheme) {
    if (!scheme.symmetric()) {
      throw GraceException.user(
          "trained scales have no zero points; allowed for a trained variant: symmetric: true");
    }
    QuantSpec spec = scheme.spec(linear);
    int groups = spec.groups(linear.rows(), linear.cols());
    if (theta.isEmpty() || theta.get().length != groups) {
      throw GraceException.data(
          "the trained state has %s log-scales for %s; the variant calls for %d",
          theta.isEmpty() ? "no" : Integer.toString(theta.get().length), linear.weight(), groups);
    }
    return PackedWeight.quantize(w, theta.get(), linear.rows(), linear.cols(), spec);
  }
}
