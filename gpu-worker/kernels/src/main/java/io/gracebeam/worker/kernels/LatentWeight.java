package io.gracebeam.worker.kernels;

/**
 * A float32 weight that training changes, with the shape of the quantizer that the model computes
 * with.
 *
 * @param values [rows, cols], row-major; not copied
 * @param spec fits the shape
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
public record LatentWeight(float[] values, int rows, int cols, QuantSpec spec) {
  private static final String WHERE = "LatentWeight";

  /** Validates the sizes; whether the values are finite is not checked. */
  public LatentWeight {
    spec.groups(rows, cols);
    Checks.length(WHERE, "values", values.length, rows * cols);
  }

  /** Number of scales. */
  public int groups() {
    return spec.groups(rows, cols);
  }
}
