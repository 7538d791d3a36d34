package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.PackedWeight;
import java.util.Optional;

/**
 * A quantized weight [rows, cols].
 *
 * @param weight codes, scales and zero points
 * @param order the column of the model that each column of {@code weight} stands for, so that
 *     groups are consecutive (GPTQ with act-order); empty where columns keep their order
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record QuantizedMatrix(PackedWeight weight, Optional<int[]> order) {
  /** Checks that an order names every column once. */
  public QuantizedMatrix {
    if (order.isPresent()) {
      boolean[] seen = new boolean[weight.cols()];
      int distinct = 0;
      for (int column : order.get()) {
        if (column >= 0 && column < seen.length && !seen[column]) {
          seen[column] = true;
          distinct++;
        }
      }
      if (distinct != weight.cols() || order.get().length != weight.cols()) {
        throw GraceException.bug(
            "a column order of %d entries names %d of %d columns",
            order.get().length, distinct, weight.cols());
      }
    }
  }

  /** A matrix whose columns keep their order. */
  public static QuantizedMatrix of(PackedWeight weight) {
    return new QuantizedMatrix(weight, Optional.empty());
  }

  /** The dequantized weight [rows, cols], its columns in the model's order. */
  public float[] dequantize() {
    float[] packed = weight.dequantize();
    if (order.isEmpty()) {
      return packed;
    }
    float[] out = new float[packed.length];
    int cols = weight.cols();
    for (int r = 0; r < weight.rows(); r++) {
      for (int c = 0; c < cols; c++) {
        out[r * cols + order.get()[c]] = packed[r * cols + c];
      }
    }
    return out;
  }
}
