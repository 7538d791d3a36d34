package io.gracebeam.worker.server;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.grpc.Status;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Long work, one piece at a time, found by its id. A repeated submit finds the queued, running or
 * finished operation; after a restart it finds the result in the artifact store, since the id is
 * the stage key. What failed or was canceled may be submitted again.
 */
final class Operations implements AutoCloseable {
  private static final int MOST_REMEMBERED = 1000;

  private final WorkMethods methods;
  private final References references;
  private final Publisher publisher;
  private final StageTable table = StageTable.load();
  private final int capacity;
  private final ThreadPoolExecutor executor;
  private final LinkedHashMap<String, Running> known = new LinkedHashMap<>();

  Operations(WorkMethods methods, References references, Publisher publisher, int capacity) {
    this.methods = methods;
    this.references = references;
    this.publisher = publisher;
    this.capacity = capacity;
    this.executor =
        new ThreadPoolExecutor(
            1,
            1,
            0,
            TimeUnit.SECONDS,
            new ArrayBlockingQueue<>(capacity),
            Threads.named("grace-operation"));
  }

  /**
   * Starts an operation, or finds it.
   *
   * @throws io.grpc.StatusRuntimeException RESOURCE_EXHAUSTED if the queue is full
   * @throws GraceException if the request cannot be right
   */
  Operation submit(OperationRequest request) {
    String id = References.id(request.getId());
    StageKind kind = kind(request);
    kind.checkInputs("operation " + id, request.getInputsMap().keySet());
    kind.unpack("operation " + id, request.getWork());
    URI root = publisher.root(request.getStore());
    request.getInputsMap().forEach((role, ref) -> references.uri("input " + role, ref.getUri()));
    synchronized (known) {
      Running old = known.get(id);
      if (old != null && !old.sameWork(request)) {
        throw GraceException.user(
            "operation %s is known with other work; an id stands for one piece of work", id);
      }
      if (old != null && old.pending()) {
        if (!old.root().equals(root)) {
          throw GraceException.user("operation %s is running for another store", id);
        }
        return old.snapshot();
      }
    }
    Optional<Manifest> published = publisher.find(root, id);
    synchronized (known) {
      Running old = known.get(id);
      if (old != null && old.pending()) {
        return old.snapshot();
      }
      Running fresh = new Running(request, root);
      if (published.isPresent()) {
        if (old != null
            && old.root().equals(root)
            && old.snapshot().getState() == Operation.State.SUCCEEDED) {
          return old.snapshot();
        }
        fresh.succeed(published.get());
      } else {
        try {
          executor.execute(fresh.doing(() -> work(fresh)));
        } catch (RejectedExecutionException e) {
          throw executor.isShutdown()
              ? Status.UNAVAILABLE.withDescription("the worker shuts down").asRuntimeException()
              : Status.RESOURCE_EXHAUSTED
                  .withDescription(
                      "the worker's operation queue is full: 1 runs, "
                          + capacity
                          + " wait; retry later or add workers")
                  .asRuntimeException();
        }
      }
      known.remove(id);
      known.put(id, fresh);
      forget();
      return fresh.snapshot();
    }
  }

  /**
   * The operation with an id: one that this process knows, or a result in the worker's own store.
   */
  Running find(String id) {
    References.id(id);
    synchronized (known) {
      Running found = known.get(id);
      if (found != null) {
        return found;
      }
    }
    Optional<Manifest> published = publisher.findInOwn(id);
    if (published.isPresent()) {
      return Running.finished(id, published.get());
    }
    throw Status.NOT_FOUND
        .withDescription("operation " + id + " is not known to this worker; submit it (again)")
        .asRuntimeException();
  }

  /** Asks an operation to stop; one that waits stops at once, one that runs at its next step. */
  Operation cancel(String id) {
    Running running = find(id);
    running.cancel();
    if (!running.pending()) {
      executor.remove(running.task());
    }
    return running.snapshot();
  }

  private void work(Running running) {
    if (!running.start()) {
      return;
    }
    OperationRequest request = running.request();
    try {
      StageKind kind = kind(request);
      Manifest result =
          publisher.publish(
              running.root(),
              running.id(),
              kind.name(),
              kind.output(),
              request.getInputsMap(),
              request.getSeed(),
              temp -> {
                running.report(0, "checking inputs");
                SortedMap<String, Path> inputs = new TreeMap<>();
                for (Map.Entry<String, ArtifactRef> input :
                    new TreeMap<>(request.getInputsMap()).entrySet()) {
                  inputs.put(
                      input.getKey(),
                      references.verify("input " + input.getKey(), input.getValue()));
                }
                Map<String, Double> measures = methods.run(request, inputs, temp, running);
                if (running.canceled()) {
                  throw new CancellationException();
                }
                return measures;
              });
      running.succeed(result);
    } catch (Throwable e) { // whatever happens, somebody watches
      if (running.canceled() && !(e instanceof VirtualMachineError)) {
        running.end(Operation.State.CANCELLED, "canceled", null);
      } else {
        GraceException error = Lines.classify(e);
        running.end(Operation.State.FAILED, Lines.oneLine(error.getMessage()), error.category());
      }
    }
  }

  /** The row of a request's kind, which this worker must be able to run as an operation. */
  private StageKind kind(OperationRequest request) {
    if (!methods.capabilities().contains(request.getStage())) {
      throw GraceException.user(
          "operation %s: this worker runs no stage '%s'; allowed: %s",
          request.getId(), request.getStage(), String.join(", ", methods.capabilities()));
    }
    return table.get(request.getStage());
  }

  private void forget() {
    var oldest = known.values().iterator();
    while (known.size() > MOST_REMEMBERED && oldest.hasNext()) {
      if (!oldest.next().pending()) {
        oldest.remove();
      }
    }
  }

  /** Cancels everything and waits for the running operation to stop. */
  boolean stop(Duration grace) {
    executor.shutdown();
    synchronized (known) {
      known.values().forEach(Running::cancel);
    }
    try {
      return executor.awaitTermination(grace.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  @Override
  public void close() {
    executor.shutdownNow();
  }
}
