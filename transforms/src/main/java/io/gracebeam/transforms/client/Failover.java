package io.gracebeam.transforms.client;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.error.Statuses;
import io.grpc.StatusRuntimeException;
import java.nio.charset.StandardCharsets;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;
import java.util.zip.CRC32C;

/**
 * The order in which workers are tried for a task, and when to give up.
 *
 * <p>A task's order is by rendezvous hash of (task, endpoint), so losing a worker moves only that
 * worker's tasks. UNAVAILABLE goes to the next worker at once; other retryable codes stay. Between
 * rounds the caller waits ({@link Backoff}). Any message received from a worker starts the count
 * anew, so that long work survives many interruptions.
 */
final class Failover {
  /** One attempt on one worker; {@code news} is run for every message received. */
  @FunctionalInterface
  interface Attempt<T> {
    T on(WorkerChannel worker, Runnable news);
  }

  private final Workers workers;
  private final List<WorkerChannel> channels;
  private final Consumer<WorkerChannel> connect;
  private final Backoff backoff;

  Failover(
      Workers workers,
      List<WorkerChannel> channels,
      Consumer<WorkerChannel> connect,
      Backoff backoff) {
    this.workers = workers;
    this.channels = channels;
    this.connect = connect;
    this.backoff = backoff;
  }

  <T> T call(String what, String id, Attempt<T> attempt) {
    List<WorkerChannel> order = order(id);
    int limit = workers.attempts() * order.size();
    int at = 0;
    int failures = 0;
    int round = 0;
    while (true) {
      WorkerChannel worker = order.get(at % order.size());
      boolean[] news = new boolean[1];
      try {
        backoff.pause(round);
        worker.permits().acquire();
        try {
          connect.accept(worker);
          return attempt.on(worker, () -> news[0] = true);
        } finally {
          worker.permits().release();
        }
      } catch (StatusRuntimeException e) {
        if (Thread.currentThread().isInterrupted()) {
          throw interrupted(what, id);
        }
        boolean lost = lost(e);
        if (!lost && Statuses.of(e.getStatus().getCode()) != Statuses.Action.RETRY) {
          throw Statuses.fromStatus(e);
        }
        failures = news[0] ? 1 : failures + 1;
        if (failures >= limit) {
          throw givenUp(what, id, worker, failures, e);
        }
        if (lost) {
          worker.forgetHandshake();
          at++;
        }
        round = failures / order.size();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw interrupted(what, id);
      }
    }
  }

  /**
   * True if the worker is not there (any more); a server that is killed may also cancel or reset
   * its streams.
   */
  private static boolean lost(StatusRuntimeException e) {
    String description = e.getStatus().getDescription();
    return switch (e.getStatus().getCode()) {
      case UNAVAILABLE, CANCELLED -> true;
      case INTERNAL, UNKNOWN -> description != null && description.contains("RST_STREAM");
      default -> false;
    };
  }

  private List<WorkerChannel> order(String id) {
    return channels.stream()
        .sorted(
            Comparator.comparingLong((WorkerChannel c) -> weight(id, c.endpoint()))
                .thenComparing(WorkerChannel::endpoint))
        .toList();
  }

  private static long weight(String id, String endpoint) {
    CRC32C crc = new CRC32C();
    crc.update((id + "\n" + endpoint).getBytes(StandardCharsets.UTF_8));
    // CRC is linear; a multiplicative mix makes the order of endpoints differ between ids.
    long mixed = (crc.getValue() + 1) * 0x9E3779B97F4A7C15L;
    mixed ^= mixed >>> 29;
    mixed *= 0xBF58476D1CE4E5B9L;
    return mixed ^ (mixed >>> 32);
  }

  private GraceException givenUp(
      String what, String id, WorkerChannel last, int failures, StatusRuntimeException e) {
    String unit = id.isEmpty() ? "" : " " + id;
    if (lost(e)) {
      return GraceException.worker(
              "%s%s: no worker reachable at %s after %d attempts (%s); start one with 'grace"
                  + " worker' or correct the addresses",
              what, unit, String.join(", ", workers.endpoints()), failures, Lines.of(e))
          .withCause(e);
    }
    return GraceException.worker(
            "%s%s: worker %s gave up after %d attempts: %s",
            what, unit, last.endpoint(), failures, Lines.of(e))
        .withCause(e);
  }

  private static GraceException interrupted(String what, String id) {
    return GraceException.worker("%s %s: interrupted", what, id);
  }
}
