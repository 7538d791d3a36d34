package io.gracebeam.worker.kernels;

/**
 * A weight of bfloat16 numbers.
 *
 * @param values [rows, cols], raw bits; not copied
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
record Bf16Weight(int rows, int cols, short[] values) implements Matrix {
  private static final String WHERE = "Bf16Weight";

  /** Validates sizes and values. */
  Bf16Weight {
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    Checks.length(WHERE, "values", values.length, Checks.product(WHERE, rows, cols));
    for (int i = 0; i < values.length; i++) {
      if ((values[i] & 0x7f80) == 0x7f80) {
        throw Checks.error(WHERE, "values[%d] is not finite, allowed are finite numbers", i);
      }
    }
  }
}
