package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/** A quantizer whose groups are made of the columns from the last to the first. */
public final class ReversedColumns implements Quantizer {
  /** For the service loader. */
  public ReversedColumns() {}

  @Override
  public String name() {
    return "reversed-columns";
  }

  @Override
  public Set<Statistic> needs() {
    return Set.of();
  }

  @Override
  public QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme) {
    Map<String, QuantizedMatrix> out = new LinkedHashMap<>();
    for (Linear linear : block.linears()) {
      int rows = linear.rows();
      int cols = linear.cols();
      int[] order = IntStream.range(0, cols).map(c -> cols - 1 - c).toArray();
      float[] w = block.values(linear);
      float[] turned = new float[w.length];
      for (int i = 0; i < w.length; i++) {
        turned[i] = w[i / cols * cols + order[i % cols]];
      }
      QuantSpec spec = scheme.spec(linear);
      float[] theta = LogScaleQuantizer.absmaxLogScales(turned, rows, cols, spec);
      PackedWeight packed = PackedWeight.quantize(turned, theta, rows, cols, spec);
      out.put(linear.weight(), new QuantizedMatrix(packed, Optional.of(order)));
    }
    return new QuantizedBlock(out, Map.of());
  }
}
