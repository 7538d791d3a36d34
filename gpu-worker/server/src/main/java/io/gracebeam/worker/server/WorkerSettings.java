package io.gracebeam.worker.server;

import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * How a worker listens and what it admits.
 *
 * @param host address to bind; loopback unless a person says otherwise, since the transport is not
 *     encrypted
 * @param port 0: any free port
 * @param maxInboundBytes longest message that is accepted, after decompression
 * @param maxConcurrentCalls per connection
 * @param inferenceThreads Extract and Generate calls that run at the same time
 * @param inferenceQueue Extract and Generate calls that may wait
 * @param operationQueue operations that may wait; one runs at a time
 * @param models models held in memory
 * @param keepAlive interval of server pings on a quiet connection
 * @param stall how long a stream waits for a client that does not read, before it is given up
 * @param grace how long a shutdown waits for calls and for the running operation to stop
 * @param store URI of the artifact store of requests that name none
 * @param roots URIs that everything in requests must lie below, {@code file} for folders; empty:
 *     any
 */
public record WorkerSettings(
    String host,
    int port,
    int maxInboundBytes,
    int maxConcurrentCalls,
    int inferenceThreads,
    int inferenceQueue,
    int operationQueue,
    int models,
    Duration keepAlive,
    Duration stall,
    Duration grace,
    Optional<URI> store,
    List<URI> roots) {

  public WorkerSettings {
    positive("inferenceThreads", inferenceThreads);
    positive("inferenceQueue", inferenceQueue);
    positive("operationQueue", operationQueue);
    positive("models", models);
    positive("maxInboundBytes", maxInboundBytes);
    positive("maxConcurrentCalls", maxConcurrentCalls);
    roots = List.copyOf(roots);
  }

  /** Loopback, any free port, 8 MiB messages. */
  public static WorkerSettings defaults() {
    return new WorkerSettings(
        "127.0.0.1",
        0,
        8 << 20,
        64,
        1,
        32,
        64,
        2,
        Duration.ofSeconds(60),
        Duration.ofMinutes(2),
        Duration.ofSeconds(20),
        Optional.empty(),
        List.of());
  }

  /** These settings with another address and port. */
  public WorkerSettings listeningOn(String newHost, int newPort) {
    return new WorkerSettings(
        newHost,
        newPort,
        maxInboundBytes,
        maxConcurrentCalls,
        inferenceThreads,
        inferenceQueue,
        operationQueue,
        models,
        keepAlive,
        stall,
        grace,
        store,
        roots);
  }

  /** These settings with other bounds on waiting calls and operations. */
  public WorkerSettings admitting(int newInferenceQueue, int newOperationQueue) {
    return new WorkerSettings(
        host,
        port,
        maxInboundBytes,
        maxConcurrentCalls,
        inferenceThreads,
        newInferenceQueue,
        newOperationQueue,
        models,
        keepAlive,
        stall,
        grace,
        store,
        roots);
  }

  /** These settings with other times to wait for slow clients and for a shutdown. */
  public WorkerSettings waiting(Duration newStall, Duration newGrace) {
    return new WorkerSettings(
        host,
        port,
        maxInboundBytes,
        maxConcurrentCalls,
        inferenceThreads,
        inferenceQueue,
        operationQueue,
        models,
        keepAlive,
        newStall,
        newGrace,
        store,
        roots);
  }

  /** These settings with another number of models held in memory. */
  public WorkerSettings holding(int newModels) {
    return new WorkerSettings(
        host,
        port,
        maxInboundBytes,
        maxConcurrentCalls,
        inferenceThreads,
        inferenceQueue,
        operationQueue,
        newModels,
        keepAlive,
        stall,
        grace,
        store,
        roots);
  }

  /** These settings with another default store and other allowed places. */
  public WorkerSettings within(Optional<URI> newStore, List<URI> newRoots) {
    return new WorkerSettings(
        host,
        port,
        maxInboundBytes,
        maxConcurrentCalls,
        inferenceThreads,
        inferenceQueue,
        operationQueue,
        models,
        keepAlive,
        stall,
        grace,
        newStore,
        newRoots);
  }

  private static void positive(String name, int value) {
    if (value < 1) {
      throw new IllegalArgumentException(name + " must be at least 1, is " + value);
    }
  }
}
