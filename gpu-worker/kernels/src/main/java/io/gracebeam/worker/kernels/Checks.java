package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Locale;

/** Argument checks; each failure is one line: where, what, what is allowed. */
final class Checks {
  private Checks() {}

  static IllegalArgumentException error(String where, String format, Object... args) {
    return new IllegalArgumentException(where + ": " + String.format(Locale.ROOT, format, args));
  }

  static void positive(String where, String name, int value) {
    if (value < 1) {
      throw error(where, "%s is %d, allowed are values of at least 1", name, value);
    }
  }

  static void notNegative(String where, String name, int value) {
    if (value < 0) {
      throw error(where, "%s is %d, allowed are values of at least 0", name, value);
    }
  }

  /** Product of sizes as an int; an array of Java cannot be longer. */
  static int product(String where, int... sizes) {
    long p = 1;
    for (int s : sizes) {
      if (s < 0) {
        throw error(where, "a size is %d, allowed are values of at least 0", s);
      }
      p *= s;
      if (p > Integer.MAX_VALUE - 8) {
        throw error(
            where, "an array would hold more than %d elements, split it", Integer.MAX_VALUE - 8);
      }
    }
    return (int) p;
  }

  static void length(String where, String name, int actual, int expected) {
    if (actual != expected) {
      throw error(where, "%s holds %d elements, allowed is exactly %d", name, actual, expected);
    }
  }

  static void atLeast(String where, String name, int actual, int needed) {
    if (actual < needed) {
      throw error(where, "%s holds %d elements, allowed are at least %d", name, actual, needed);
    }
  }

  static boolean allFinite(float[] a, int from, int to) {
    // Magnitude bits below those of infinity leave a negative difference; the loop has no branch
    // and vectorizes.
    int signs = -1;
    for (int i = from; i < to; i++) {
      signs &= (Float.floatToRawIntBits(a[i]) & 0x7fffffff) - 0x7f800000;
    }
    return signs < 0;
  }

  static void finite(String where, String name, float[] a, int from, int to) {
    if (allFinite(a, from, to)) {
      return;
    }
    for (int i = from; i < to; i++) {
      if (!Float.isFinite(a[i])) {
        throw error(where, "%s[%d] is %s, allowed are finite numbers", name, i, a[i]);
      }
    }
  }

  static void positive(String where, String name, float[] a) {
    // Positive, not zero, below infinity: three signs, as above.
    int signs = -1;
    for (float value : a) {
      int bits = Float.floatToRawIntBits(value);
      signs &= ~bits & ~(bits - 1) & (bits - 0x7f800000);
    }
    if (signs < 0) {
      return;
    }
    for (int i = 0; i < a.length; i++) {
      if (!(a[i] > 0f) || !Float.isFinite(a[i])) {
        throw error(where, "%s[%d] is %s, allowed are finite positive numbers", name, i, a[i]);
      }
    }
  }

  static void floats(String where, String name, MemorySegment actual, int expected) {
    if (actual.byteSize() != (long) Float.BYTES * expected) {
      throw error(
          where,
          "%s holds %d elements, allowed is exactly %d",
          name,
          actual.byteSize() / Float.BYTES,
          expected);
    }
  }

  static void finite(String where, String name, double value) {
    if (!Double.isFinite(value)) {
      throw error(where, "%s is %s, allowed are finite numbers", name, value);
    }
  }

  static void targets(String where, int[] targets, int rows, int vocab) {
    length(where, "targets", targets.length, rows);
    for (int i = 0; i < rows; i++) {
      if (targets[i] < 0 || targets[i] >= vocab) {
        throw error(where, "targets[%d] is %d, allowed are 0 to %d", i, targets[i], vocab - 1);
      }
    }
  }
}
