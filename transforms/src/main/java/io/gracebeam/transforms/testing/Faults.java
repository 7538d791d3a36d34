package io.gracebeam.transforms.testing;

import io.grpc.Status;
import java.time.Duration;
import java.util.Set;

/**
 * How a fake worker misbehaves.
 *
 * @param failFirst that many calls of Submit, Extract and Generate fail with {@code code}
 * @param code status of those failures
 * @param dieAfter the process "dies" (connections cut, nothing of its memory left) while working on
 *     the call of this number, counted from 1; 0: never
 * @param breakStreams that many Watch streams end after their first message
 * @param latency time that an operation takes
 * @param badIds examples and questions that are refused
 */
public record Faults(
    int failFirst,
    Status.Code code,
    int dieAfter,
    int breakStreams,
    Duration latency,
    Set<String> badIds) {

  /** No fault. */
  public static Faults none() {
    return new Faults(0, Status.Code.UNAVAILABLE, 0, 0, Duration.ZERO, Set.of());
  }

  /** The first calls fail. */
  public Faults withFailures(int calls, Status.Code status) {
    return new Faults(calls, status, dieAfter, breakStreams, latency, badIds);
  }

  /** Dies in the middle of the n-th call. */
  public Faults withDeathInCall(int n) {
    return new Faults(failFirst, code, n, breakStreams, latency, badIds);
  }

  /** The first Watch streams break. */
  public Faults withBrokenStreams(int streams) {
    return new Faults(failFirst, code, dieAfter, streams, latency, badIds);
  }

  /** Operations take this long. */
  public Faults withLatency(Duration time) {
    return new Faults(failFirst, code, dieAfter, breakStreams, time, badIds);
  }

  /** These examples and questions are refused. */
  public Faults withBadIds(Set<String> ids) {
    return new Faults(failFirst, code, dieAfter, breakStreams, latency, Set.copyOf(ids));
  }
}
