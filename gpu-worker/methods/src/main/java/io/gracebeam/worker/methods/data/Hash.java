package io.gracebeam.worker.methods.data;

/**
 * Counter-based random numbers: a value depends on its key and counter only, never on the order of
 * calls.
 */
public final class Hash {
  private Hash() {}

  /** Well-mixed 64 bits of two words (SplitMix64 finalizer, Steele et al. 2014). */
  public static long mix(long key, long counter) {
    long z = key + 0x9E3779B97F4A7C15L * (counter + 1);
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  /** Key of a named stream under a seed. */
  public static long key(long seed, String name) {
    long k = mix(seed, 0x5EEDL);
    for (int i = 0; i < name.length(); i++) {
      k = mix(k, name.charAt(i));
    }
    return k;
  }

  /** Uniform in (0, 1). */
  public static double uniform(long key, long counter) {
    return ((mix(key, counter) >>> 11) + 0.5) * 0x1p-53;
  }

  /** Standard normal (Box and Muller 1958), the same on every machine. */
  public static double gaussian(long key, long counter) {
    double u = uniform(key, 2 * counter);
    double v = uniform(key, 2 * counter + 1);
    return StrictMath.sqrt(-2 * StrictMath.log(u)) * StrictMath.cos(2 * Math.PI * v);
  }

  /** Permutation of 0..n-1 for a seed and an epoch: indices sorted by their hash. */
  public static int[] permutation(int n, long seed, long epoch) {
    long key = mix(mix(seed, 0x0BDEL), epoch);
    record Entry(long hash, int index) {}
    Entry[] entries = new Entry[n];
    for (int i = 0; i < n; i++) {
      entries[i] = new Entry(mix(key, i), i);
    }
    java.util.Arrays.sort(
        entries, java.util.Comparator.comparingLong(Entry::hash).thenComparingInt(Entry::index));
    int[] out = new int[n];
    for (int i = 0; i < n; i++) {
      out[i] = entries[i].index();
    }
    return out;
  }
}
