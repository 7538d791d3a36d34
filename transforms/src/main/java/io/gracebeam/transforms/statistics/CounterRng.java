package io.gracebeam.transforms.statistics;

/**
 * A counter-based random generator: the number at position {@code i} of stream {@code (seed, keys)}
 * is a pure function of these, so results do not depend on the order in which streams are used. The
 * mixing function is the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
 */
public final class CounterRng {
  private static final long GAMMA = 0x9E3779B97F4A7C15L;

  private final long stream;
  private long counter;

  private CounterRng(long stream) {
    this.stream = stream;
  }

  /** The stream that {@code seed} and the ordered {@code keys} name, at its first number. */
  public static CounterRng of(long seed, long... keys) {
    long state = mix(seed + GAMMA);
    for (long key : keys) {
      state = mix(state * 31 + mix(key + GAMMA));
    }
    return new CounterRng(state);
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  /** The number at {@code position} of this stream; leaves the stream where it is. */
  public long at(long position) {
    return mix(mix(stream + GAMMA * (position + 1)) ^ stream);
  }

  /** The next 64 random bits. */
  public long nextLong() {
    return at(counter++);
  }

  /** The next integer, uniform on {@code [0, bound)}; {@code bound} must be positive. */
  public int nextInt(int bound) {
    if (bound <= 0) {
      throw new IllegalArgumentException("bound is " + bound + "; it must be positive");
    }
    // Multiply-shift; the bias is below bound / 2^63.
    return (int) Math.multiplyHigh(nextLong() >>> 1, (long) bound << 1);
  }

  /** The next number, uniform on {@code [0, 1)} with 53 bits. */
  public double nextDouble() {
    return (nextLong() >>> 11) * 0x1.0p-53;
  }

  /** The next number, uniform on {@code [low, high)}. */
  public double nextDouble(double low, double high) {
    return low + (high - low) * nextDouble();
  }

  /** An approximately normal number (mean 0, deviation 1; the sum of twelve uniforms). */
  public double nextNormal() {
    double sum = -6;
    for (int i = 0; i < 12; i++) {
      sum += nextDouble();
    }
    return sum;
  }

  /** Shuffles {@code values} in place (Fisher-Yates). */
  public void shuffle(int[] values) {
    for (int i = values.length - 1; i > 0; i--) {
      int j = nextInt(i + 1);
      int t = values[i];
      values[i] = values[j];
      values[j] = t;
    }
  }
}
