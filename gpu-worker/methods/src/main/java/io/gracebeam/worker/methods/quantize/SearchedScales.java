package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.util.Set;

/**
 * Rounds to nearest with the scales of least squared error on a grid of 20 ratios, 0.3 to 1.2, of
 * those that {@link RoundToNearest} takes.
 */
public final class SearchedScales implements Quantizer {
  /** For the service loader. */
  public SearchedScales() {}

  @Override
  public String name() {
    return "mse";
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
      return MinMaxRounding.search(w, linear.rows(), linear.cols(), spec);
    }
    float[] theta = LogScaleQuantizer.searchLogScales(w, linear.rows(), linear.cols(), spec);
    return PackedWeight.quantize(w, theta, linear.rows(), linear.cols(), spec);
  }
}
