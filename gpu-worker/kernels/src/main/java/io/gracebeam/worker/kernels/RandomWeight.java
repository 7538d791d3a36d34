package io.gracebeam.worker.kernels;

/**
 * A weight of random codes, made in place, for benchmarks: its speed is that of any other.
 *
 * @param bits 2 to 8, or 16 for bfloat16 numbers
 * @param group inputs that share a scale; a divisor of cols
 */
public record RandomWeight(int bits, int rows, int cols, int group, long seed) implements Matrix {
  private static final String WHERE = "RandomWeight";

  /** Validates the sizes. */
  public RandomWeight {
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    Checks.positive(WHERE, "group", group);
    if (bits != 16) {
      Packing.checkBits(WHERE, bits);
    }
    if (cols % group != 0) {
      throw Checks.error(WHERE, "group is %d, allowed are divisors of cols = %d", group, cols);
    }
  }
}
