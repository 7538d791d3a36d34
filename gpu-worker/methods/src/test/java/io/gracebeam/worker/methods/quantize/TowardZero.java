package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** A quantizer of its own, which no other file names: codes are cut off instead of rounded. */
public final class TowardZero implements Quantizer {
  /** For the service loader. */
  public TowardZero() {}

  @Override
  public String name() {
    return "toward-zero";
  }

  @Override
  public Set<Statistic> needs() {
    return Set.of();
  }

  @Override
  public QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme) {
    Map<String, QuantizedMatrix> out = new LinkedHashMap<>();
    for (Linear linear : block.linears()) {
      float[] w = block.values(linear);
      QuantSpec spec = scheme.spec(linear);
      int group = spec.groupSize();
      float[] scales = new float[spec.groups(linear.rows(), linear.cols())];
      byte[] codes = new byte[w.length];
      for (int g = 0; g < scales.length; g++) {
        float most = 0;
        for (int i = g * group; i < (g + 1) * group; i++) {
          most = Math.max(most, Math.abs(w[i]));
        }
        scales[g] = most == 0 ? 1 : most / spec.qp();
        for (int i = g * group; i < (g + 1) * group; i++) {
          codes[i] = (byte) (w[i] / scales[g]);
        }
      }
      PackedWeight packed = PackedWeight.pack(codes, scales, linear.rows(), linear.cols(), spec);
      out.put(linear.weight(), QuantizedMatrix.of(packed));
    }
    return new QuantizedBlock(out, Map.of());
  }
}
