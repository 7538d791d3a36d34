package io.gracebeam.transforms.testing;

import io.gracebeam.transforms.client.Workers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Several fake workers at once. */
public final class InProcessWorkers implements AutoCloseable {
  private final List<FakeWorker> workers;

  private InProcessWorkers(List<FakeWorker> workers) {
    this.workers = List.copyOf(workers);
  }

  /** That many sound workers. */
  public static InProcessWorkers start(int count) {
    Faults[] faults = new Faults[count];
    java.util.Arrays.fill(faults, Faults.none());
    return start(faults);
  }

  /** One worker for each given behavior. */
  public static InProcessWorkers start(Faults... faults) {
    List<FakeWorker> started = new ArrayList<>();
    for (Faults fault : faults) {
      started.add(FakeWorker.start(fault));
    }
    return new InProcessWorkers(started);
  }

  /** The workers themselves. */
  public List<FakeWorker> all() {
    return workers;
  }

  /** A client configuration for all of them, with short waits. */
  public Workers client() {
    return Workers.of(workers.stream().map(FakeWorker::endpoint).toList())
        .withBackoff(Duration.ofMillis(10))
        .withCallDeadline(Duration.ofSeconds(5));
  }

  /** Calls of all workers. */
  public int calls() {
    return workers.stream().mapToInt(FakeWorker::calls).sum();
  }

  /** Work done by all workers. */
  public int executions() {
    return workers.stream().mapToInt(FakeWorker::executions).sum();
  }

  @Override
  public void close() {
    workers.forEach(FakeWorker::close);
  }
}
