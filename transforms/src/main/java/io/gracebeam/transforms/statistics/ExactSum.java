package io.gracebeam.transforms.statistics;

import java.io.Serializable;

/** A 128-bit integer sum of longs. Integer addition is associative, so any order gives the same. */
final class ExactSum implements Serializable {
  private static final long serialVersionUID = 1L;

  private long high;
  private long low;

  ExactSum() {}

  ExactSum(long high, long low) {
    this.high = high;
    this.low = low;
  }

  void add(long value) {
    add(value >> 63, value);
  }

  void add(ExactSum other) {
    add(other.high, other.low);
  }

  private void add(long otherHigh, long otherLow) {
    long sum = low + otherLow;
    high += otherHigh + (Long.compareUnsigned(sum, low) < 0 ? 1 : 0);
    low = sum;
  }

  long high() {
    return high;
  }

  long low() {
    return low;
  }

  /** The nearest double, near enough: the high word is exact, the low word is rounded. */
  double toDouble() {
    return high * 0x1.0p64 + (low >>> 1) * 2.0 + (low & 1);
  }

  java.math.BigInteger toBigInteger() {
    return java.math.BigInteger.valueOf(high)
        .shiftLeft(64)
        .add(new java.math.BigInteger(Long.toUnsignedString(low)));
  }
}
