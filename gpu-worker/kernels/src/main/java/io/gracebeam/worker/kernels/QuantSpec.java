package io.gracebeam.worker.kernels;

/**
 * Shape of a symmetric signed quantizer for a row-major weight {@code [rows, cols]}.
 *
 * @param bits code width, 2 to 8; codes lie in [-qn, qp]
 * @param groupSize consecutive elements that share one scale: a divisor of cols, cols itself (one
 *     group per row), or rows * cols when {@code perTensor}
 * @param perTensor one scale for the whole weight
 */
public record QuantSpec(int bits, int groupSize, boolean perTensor) {
  private static final String WHERE = "QuantSpec";

  /** Validates the fields that do not need the weight's shape. */
  public QuantSpec {
    if (bits < 2 || bits > 8) {
      throw Checks.error(WHERE, "bits is %d, allowed are 2 to 8", bits);
    }
    Checks.positive(WHERE, "groupSize", groupSize);
  }

  /**
   * Spec that fits a weight. A group size that is not positive or does not divide cols means one
   * group per row.
   *
   * @throws IllegalArgumentException if bits is not 2 to 8, or the weight is empty or too large for
   *     one array
   */
  public static QuantSpec of(int bits, int groupSize, boolean perTensor, int rows, int cols) {
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    int all = Checks.product(WHERE, rows, cols);
    if (perTensor) {
      return new QuantSpec(bits, all, true);
    }
    return new QuantSpec(bits, groupSize > 0 && cols % groupSize == 0 ? groupSize : cols, false);
  }

  /** Magnitude of the lowest code, 2^(bits-1). */
  public int qn() {
    return 1 << (bits - 1);
  }

  /** Highest code, 2^(bits-1) - 1. */
  public int qp() {
    return (1 << (bits - 1)) - 1;
  }

  /**
   * Number of scales of a weight {@code [rows, cols]}: 1 per tensor, else rows * cols / groupSize.
   *
   * @throws IllegalArgumentException if this spec does not fit the shape
   */
  public int groups(int rows, int cols) {
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    int all = Checks.product(WHERE, rows, cols);
    if (perTensor) {
      if (groupSize != all) {
        throw Checks.error(
            WHERE, "per-tensor groupSize is %d, allowed is rows * cols = %d", groupSize, all);
      }
      return 1;
    }
    if (cols % groupSize != 0) {
      throw Checks.error(
          WHERE, "groupSize is %d, allowed are divisors of cols = %d", groupSize, cols);
    }
    return all / groupSize;
  }

  /** Elements of one row that share a scale: groupSize, or cols when per tensor. */
  int segment(int cols) {
    return perTensor ? cols : groupSize;
  }

  /** Checks a weight and its log scales; returns rows * cols. */
  int check(String where, float[] w, float[] theta, int rows, int cols) {
    int groups = groups(rows, cols);
    int n = rows * cols;
    Checks.length(where, "w", w.length, n);
    Checks.finite(where, "w", w, 0, n);
    if (theta != null) {
      Checks.length(where, "theta", theta.length, groups);
      Checks.finite(where, "theta", theta, 0, groups);
    }
    return n;
  }
}
