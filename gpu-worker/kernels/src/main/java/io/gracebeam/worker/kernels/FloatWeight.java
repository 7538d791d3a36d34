package io.gracebeam.worker.kernels;

/**
 * A weight of float32 numbers.
 *
 * @param values [rows, cols]; not copied
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
public record FloatWeight(int rows, int cols, float[] values) implements Matrix {
  private static final String WHERE = "FloatWeight";

  /** Validates sizes and values. */
  public FloatWeight {
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    Checks.length(WHERE, "values", values.length, Checks.product(WHERE, rows, cols));
    Checks.finite(WHERE, "values", values, 0, values.length);
  }
}
