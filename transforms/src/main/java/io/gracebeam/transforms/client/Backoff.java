package io.gracebeam.transforms.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.DoubleSupplier;

/**
 * Waits between rounds of attempts: exponential backoff with full jitter. The wait before round n
 * is uniform between 0 and min(10 s, first * 2^(n-1)), so that clients which failed together do not
 * come back together (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
 */
final class Backoff {
  private static final Duration LONGEST = Duration.ofSeconds(10);

  private final long firstNanos;
  private final DoubleSupplier random;

  /**
   * Waits that grow from a first one.
   *
   * @param first longest wait before round 1, longer than 0
   * @param random uniform numbers from 0 to 1, safe for concurrent use
   */
  Backoff(Duration first, DoubleSupplier random) {
    this.firstNanos = (first.compareTo(LONGEST) < 0 ? first : LONGEST).toNanos();
    this.random = random;
  }

  /** Waits of this process's own random numbers. */
  static Backoff of(Duration first) {
    return new Backoff(first, () -> ThreadLocalRandom.current().nextDouble());
  }

  /** Upper bound of the wait before a round, in nanoseconds; 0 for round 0. */
  long longest(int round) {
    if (round == 0) {
      return 0;
    }
    int doublings = Math.min(round - 1, Long.numberOfLeadingZeros(firstNanos) - 1);
    return Math.min(LONGEST.toNanos(), firstNanos << doublings);
  }

  /** A wait before a round, in nanoseconds. */
  long next(int round) {
    return (long) (random.getAsDouble() * longest(round));
  }

  /**
   * Sleeps before a round.
   *
   * @throws InterruptedException if the thread is interrupted meanwhile
   */
  void pause(int round) throws InterruptedException {
    TimeUnit.NANOSECONDS.sleep(next(round));
  }
}
