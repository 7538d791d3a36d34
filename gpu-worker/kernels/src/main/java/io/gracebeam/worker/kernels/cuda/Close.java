package io.gracebeam.worker.kernels.cuda;

/** Comparison of what a kernel found with what the oracle says. */
final class Close {
  /** Half an ulp of float32 numbers near 1: the largest relative error of one rounding. */
  static final double ROUNDING = 0x1p-24;

  private Close() {}

  /**
   * Throws unless {@code found} is within {@code bound} of {@code expected}; a NaN never is.
   *
   * @throws IllegalStateException naming the element
   */
  static void check(String what, int index, double found, double expected, double bound) {
    if (!(Math.abs(found - expected) <= bound)) {
      throw new IllegalStateException(
          "%s[%d] is %s, the oracle says %s within %s"
              .formatted(what, index, found, expected, bound));
    }
  }

  /** Elements within {@code bound} of the oracle's. */
  static void check(String what, float[] found, float[] expected, double bound) {
    same(what, found.length, expected.length);
    for (int i = 0; i < found.length; i++) {
      check(what, i, found[i], expected[i], bound);
    }
  }

  static void same(String what, long found, long expected) {
    if (found != expected) {
      throw new IllegalStateException(
          "%s is %d, the oracle says %d".formatted(what, found, expected));
    }
  }

  static void that(boolean holds, String otherwise) {
    if (!holds) {
      throw new IllegalStateException(otherwise);
    }
  }
}
