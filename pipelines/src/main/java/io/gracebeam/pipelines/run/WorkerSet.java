package io.gracebeam.pipelines.run;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.proto.worker.EmbeddedWorkerProvider;
import io.gracebeam.transforms.client.Engine;
import io.gracebeam.transforms.client.WorkerPool;
import io.gracebeam.transforms.client.Workers;
import java.util.List;
import java.util.Optional;

/** The workers of a run: those that were named, or one inside this process. */
public final class WorkerSet implements AutoCloseable {
  private final Workers workers;
  private final Optional<EmbeddedWorker> embedded;

  private WorkerSet(Workers workers, Optional<EmbeddedWorker> embedded) {
    this.workers = workers;
    this.embedded = embedded;
  }

  /**
   * Opens the workers.
   *
   * @param endpoints {@code host:port}; empty: an embedded worker is started
   * @param settings engine of the embedded worker
   * @throws GraceException (environment) if none is named and this JVM cannot embed one
   */
  public static WorkerSet open(List<String> endpoints, EngineSettings settings) {
    if (!endpoints.isEmpty()) {
      return new WorkerSet(Workers.of(endpoints), Optional.empty());
    }
    EmbeddedWorkerProvider provider =
        EmbeddedWorkerProvider.find()
            .orElseThrow(
                () ->
                    GraceException.environment(
                        "no worker: this JVM (%s) cannot embed one; run on a JDK 25 or name workers with --workers host:port",
                        Runtime.version().feature()));
    EmbeddedWorker worker = provider.start(settings);
    // One call at a time. Inference beside training gives the same bits, but every call already has
    // all cores: it would take no less time, and both would hold memory of this one process.
    return new WorkerSet(
        Workers.of("localhost:" + worker.port()).withMaxInFlight(1), Optional.of(worker));
  }

  /** How to reach them. */
  public Workers workers() {
    return workers;
  }

  /** How many there are. */
  public int count() {
    return workers.endpoints().size();
  }

  /** What they compute with. */
  public Engine engine() {
    try (WorkerPool pool = workers.open()) {
      return pool.engine();
    }
  }

  @Override
  public void close() {
    embedded.ifPresent(EmbeddedWorker::close);
  }
}
