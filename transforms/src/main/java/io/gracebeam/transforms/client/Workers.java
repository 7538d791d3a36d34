package io.gracebeam.transforms.client;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.worker.Builds;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.regex.Pattern;

/**
 * Where the workers are and how patiently they are called. Serializable; {@link #open()} gives the
 * live client.
 *
 * <p>Which worker does a task is decided by a stable hash of the task's stage key, so a repeated
 * call meets the operation that already runs; a worker that does not answer is replaced by the next
 * in that task's order. Results never depend on the choice.
 */
@AutoValue
public abstract class Workers implements Serializable {
  private static final Pattern ENDPOINT = Pattern.compile("[A-Za-z0-9._\\[\\]:-]+:([0-9]{1,5})");

  /** Addresses, {@code host:port}. */
  public abstract List<String> endpoints();

  /** Calls in flight per worker and JVM. */
  public abstract int maxInFlight();

  /** How often each worker is tried before a call is given up. */
  public abstract int attempts();

  /**
   * Longest wait before the second round of attempts. It doubles with every further round, to at
   * most 10 s; each wait is random between 0 and this bound.
   */
  public abstract Duration backoff();

  /** Longest wait for one answer of a short call (handshake, submit). */
  public abstract Duration callDeadline();

  /** Longest time that one unit of extraction or of questions may take. */
  public abstract Duration unitDeadline();

  /** Longest time without news of an operation before it is looked up again. */
  public abstract Duration watchDeadline();

  /** Build that the workers must have. */
  public abstract String build();

  abstract Builder toBuilder();

  /**
   * Workers at {@code host:port} addresses.
   *
   * @throws GraceException (user) for an empty list or an address that is not {@code host:port}
   */
  public static Workers of(List<String> endpoints) {
    if (endpoints.isEmpty()) {
      throw GraceException.user("workers: the list is empty; give at least one host:port");
    }
    for (String endpoint : endpoints) {
      var matcher = ENDPOINT.matcher(endpoint);
      if (!matcher.matches() || port(matcher.group(1)) < 1 || port(matcher.group(1)) > 65535) {
        throw GraceException.user(
            "workers: '%s' is not host:port with a port of 1 to 65535", endpoint);
      }
    }
    return new AutoValue_Workers.Builder()
        .setEndpoints(endpoints.stream().distinct().toList())
        .setMaxInFlight(4)
        .setAttempts(5)
        .setBackoff(Duration.ofMillis(400))
        .setCallDeadline(Duration.ofSeconds(30))
        .setUnitDeadline(Duration.ofMinutes(30))
        .setWatchDeadline(Duration.ofMinutes(2))
        .setBuild(Builds.current())
        .autoBuild();
  }

  /** Workers at the given addresses, as {@link #of(List)} takes them. */
  public static Workers of(String first, String... more) {
    return of(
        java.util.stream.Stream.concat(
                java.util.stream.Stream.of(first), java.util.Arrays.stream(more))
            .toList());
  }

  /** Bounds the calls in flight per worker and JVM. */
  public Workers withMaxInFlight(int calls) {
    return toBuilder().setMaxInFlight(positive("maxInFlight", calls)).autoBuild();
  }

  /** Sets how often each worker is tried. */
  public Workers withAttempts(int attempts) {
    return toBuilder().setAttempts(positive("attempts", attempts)).autoBuild();
  }

  /** Sets the longest first wait between rounds of attempts. */
  public Workers withBackoff(Duration backoff) {
    return toBuilder().setBackoff(positive("backoff", backoff)).autoBuild();
  }

  /** Sets the deadline of short calls. */
  public Workers withCallDeadline(Duration deadline) {
    return toBuilder().setCallDeadline(positive("callDeadline", deadline)).autoBuild();
  }

  /** Sets the deadline of one unit of extraction or of questions. */
  public Workers withUnitDeadline(Duration deadline) {
    return toBuilder().setUnitDeadline(positive("unitDeadline", deadline)).autoBuild();
  }

  /** Sets the longest time without news of an operation. */
  public Workers withWatchDeadline(Duration deadline) {
    return toBuilder().setWatchDeadline(positive("watchDeadline", deadline)).autoBuild();
  }

  /** Sets the build that workers must have; by default this build. */
  public Workers withBuild(String build) {
    return toBuilder().setBuild(build).autoBuild();
  }

  /**
   * A live client. Channels are shared with every other client of this JVM and closed with the last
   * one.
   */
  public WorkerPool open() {
    return new WorkerPool(this);
  }

  /** Number of open channels of this JVM: 0 after every client is closed. */
  public static int liveChannels() {
    return WorkerChannels.live();
  }

  private static int port(String digits) {
    return Integer.parseInt(digits);
  }

  private static int positive(String name, int value) {
    if (value < 1) {
      throw GraceException.user("workers: %s is %d; it must be at least 1", name, value);
    }
    return value;
  }

  private static Duration positive(String name, Duration value) {
    if (value.isNegative() || value.isZero()) {
      throw GraceException.user("workers: %s is %s; it must be longer than 0", name, value);
    }
    return value;
  }

  @AutoValue.Builder
  abstract static class Builder {
    abstract Builder setEndpoints(List<String> endpoints);

    abstract Builder setMaxInFlight(int maxInFlight);

    abstract Builder setAttempts(int attempts);

    abstract Builder setBackoff(Duration backoff);

    abstract Builder setCallDeadline(Duration deadline);

    abstract Builder setUnitDeadline(Duration deadline);

    abstract Builder setWatchDeadline(Duration deadline);

    abstract Builder setBuild(String build);

    abstract Workers autoBuild();
  }
}
