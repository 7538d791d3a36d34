package io.gracebeam.worker.kernels;

/**
 * The two running averages that {@link AdamW} keeps of one parameter, changed in place.
 *
 * @param first of the gradient
 * @param second of the squared gradient
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
public record Moments(float[] first, float[] second) {
  /** Zeros, as before the first step. */
  public static Moments zeros(int n) {
    return new Moments(new float[n], new float[n]);
  }

  void check(String where, int n) {
    Checks.length(where, "m", first.length, n);
    Checks.length(where, "v", second.length, n);
  }
}
