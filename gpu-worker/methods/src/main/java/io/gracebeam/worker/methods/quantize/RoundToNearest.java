package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.util.Set;

/**
 * Rounds to nearest with scales of the largest weight of each group: max|w| / (2^(bits-1) - 1), or
 * with zero points (max - min) / (2^bits - 1), where min and max enclose 0.
 */
public final class RoundToNearest implements Quantizer {
  /** For the service loader. */
  public RoundToNearest() {}

  @Override
  public String name() {
    return "rtn";
  }

  @Override
  public Set<Statistic> needs() {
    return Set.of();
  }

  @Override
  public QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme) {
    return QuantizedBlock.each(block, (linear, w) -> round(linear, w, scheme));
  }

  static PackedWeight round(Linear linear, float[] w, QuantScheme scheme) {
    QuantSpec spec = scheme.spec(linear);
    if (!scheme.symmetric()) {
      return MinMaxRounding.round(w, linear.rows(), linear.cols(), spec);
    }
    float[] theta = LogScaleQuantizer.absmaxLogScales(w, linear.rows(), linear.cols(), spec);
    return PackedWeight.quantize(w, theta, linear.rows(), linear.cols(), spec);
  }
}
