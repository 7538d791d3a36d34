package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.QuantSpec;

/** Quantizer shapes as recipes ask for them. */
public final class QuantSpecs {
  private QuantSpecs() {}

  /**
   * The quantizer of a weight {@code [rows, cols]}.
   *
   * @param name of the weight, for the error
   * @param bits code width, 2 to 8
   * @param groupSize consecutive elements of a row that share a scale, or -1 for one scale per row;
   *     not looked at when {@code perTensor}
   * @param perTensor one scale for the whole weight
   * @throws GraceException user, if the group size does not divide {@code cols}
   */
  public static QuantSpec of(
      String name, int rows, int cols, int bits, int groupSize, boolean perTensor) {
    if (!perTensor && groupSize != -1 && (groupSize < 1 || cols % groupSize != 0)) {
      throw GraceException.user(
          "quantization.group_size %d does not divide the input width %d of %s; allowed are its"
              + " divisors, or -1 for one group per row",
          groupSize, cols, name);
    }
    return QuantSpec.of(bits, groupSize, perTensor, rows, cols);
  }
}
