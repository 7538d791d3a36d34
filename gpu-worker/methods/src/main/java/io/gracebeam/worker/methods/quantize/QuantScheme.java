package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.QuantSpec;

/**
 * The form of the codes that a quantizer is to make.
 *
 * @param bits code width, 2 to 8
 * @param groupSize consecutive inputs that share a scale; -1 for one scale per row
 * @param perTensor one scale for a whole matrix instead
 * @param symmetric no zero points beside the scales
 */
public record QuantScheme(int bits, int groupSize, boolean perTensor, boolean symmetric) {
  /** A symmetric scheme. */
  public QuantScheme(int bits, int groupSize, boolean perTensor) {
    this(bits, groupSize, perTensor, true);
  }

  /**
   * The quantizer of one matrix under this scheme.
   *
   * @throws GraceException user, if the group size does not divide the input width
   */
  public QuantSpec spec(Linear linear) {
    return spec(linear.weight(), linear.rows(), linear.cols());
  }

  /** As {@link #spec(Linear)}, for a weight [rows, cols] of that name. */
  public QuantSpec spec(String weight, int rows, int cols) {
    if (!perTensor && groupSize != -1 && (groupSize < 1 || cols % groupSize != 0)) {
      throw GraceException.user(
          "quantization.group_size %d does not divide the input width %d of %s; allowed are its"
              + " divisors, or -1 for one group per row",
          groupSize, cols, weight);
    }
    return QuantSpec.of(bits, groupSize, perTensor, rows, cols);
  }
}
