package io.gracebeam.transforms.client;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.LongRange;
import org.junit.jupiter.api.Test;

class BackoffTest {
  private static final long TEN_SECONDS = TimeUnit.SECONDS.toNanos(10);

  private static List<Long> waits(Backoff backoff) {
    return LongStream.rangeClosed(1, 8).map(round -> backoff.next((int) round)).boxed().toList();
  }

  @Test
  void twoClientsDoNotRetryInStep() {
    Duration first = Duration.ofMillis(400);
    List<Long> one = waits(new Backoff(first, new SplittableRandom(1)::nextDouble));
    List<Long> other = waits(new Backoff(first, new SplittableRandom(2)::nextDouble));
    for (int i = 0; i < one.size(); i++) {
      assertThat(one.get(i)).as("round %d", i + 1).isNotEqualTo(other.get(i));
    }
    assertThat(waits(Backoff.of(first))).isNotEqualTo(waits(Backoff.of(first)));
  }

  @Test
  void theBoundDoublesUpToTenSeconds() {
    Backoff backoff = new Backoff(Duration.ofMillis(400), () -> 1);
    assertThat(backoff.next(0)).isZero();
    assertThat(waits(backoff))
        .map(TimeUnit.NANOSECONDS::toMillis)
        .containsExactly(400L, 800L, 1600L, 3200L, 6400L, 10_000L, 10_000L, 10_000L);
  }

  @Property
  void everyWaitIsWithinItsBound(
      @ForAll @LongRange(min = 1, max = Long.MAX_VALUE) long firstNanos,
      @ForAll @IntRange(min = 0, max = 1_000_000) int round,
      @ForAll long seed) {
    Backoff backoff =
        new Backoff(Duration.ofNanos(firstNanos), new SplittableRandom(seed)::nextDouble);
    assertThat(backoff.longest(round)).isBetween(0L, TEN_SECONDS);
    assertThat(backoff.next(round)).isBetween(0L, backoff.longest(round));
    assertThat(backoff.longest(round)).isLessThanOrEqualTo(backoff.longest(round + 1));
  }
}
