package io.gracebeam.transforms.stages;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import io.gracebeam.transforms.client.Workers;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.beam.sdk.metrics.Counter;
import org.apache.beam.sdk.metrics.Distribution;
import org.apache.beam.sdk.metrics.Metrics;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.apache.beam.sdk.values.PCollectionView;
import org.checkerframework.checker.nullness.qual.Nullable;
import org.joda.time.Instant;

/**
 * Look up, else run. Tasks of a bundle run at once on a pool of threads; everything is emitted in
 * {@code finishBundle}, with the element's own timestamp and window, and a bundle succeeds only if
 * every task has ended.
 */
final class RunStageFn extends DoFn<StageTask, StageResult> {
  private final Workers workers;
  private final @Nullable PCollectionView<Map<String, byte[]>> earlier;
  private final Counter hits = Metrics.counter("gracebeam", "hits");
  private final Counter calls = Metrics.counter("gracebeam", "calls");
  private final Counter deadLetters = Metrics.counter("gracebeam", "deadLetters");
  private final Distribution workerMillis = Metrics.distribution("gracebeam", "workerMillis");

  private transient WorkerPool pool;
  private transient ExecutorService threads;
  private transient Deque<Pending> pending;
  private transient int bound;

  RunStageFn(Workers workers, @Nullable PCollectionView<Map<String, byte[]>> earlier) {
    this.workers = workers;
    this.earlier = earlier;
  }

  private record Done(@Nullable StageResult result, List<DeadLetter> refused) {}

  private record Pending(Future<Done> future, Instant timestamp, BoundedWindow window) {}

  @Setup
  public void setup() {
    pending = new ArrayDeque<>();
  }

  /**
   * Channels and threads are held for a bundle only: not every runner tears functions down when a
   * pipeline fails.
   */
  private void open() {
    pool = workers.open();
    bound = workers.maxInFlight() * workers.endpoints().size();
    threads =
        Executors.newFixedThreadPool(
            bound,
            runnable -> {
              Thread thread = new Thread(runnable, "stage-call");
              thread.setDaemon(true);
              return thread;
            });
  }

  @StartBundle
  public void startBundle() {
    close();
  }

  @ProcessElement
  public void process(ProcessContext context, BoundedWindow window) {
    StageTask task = context.element();
    Map<String, byte[]> results = earlier == null ? Map.of() : context.sideInput(earlier);
    if (pool == null) {
      open();
    }
    WorkerPool live = pool;
    Future<Done> future = threads.submit(() -> perform(live, task, results));
    pending.add(new Pending(future, context.timestamp(), window));
  }

  @FinishBundle
  public void finishBundle(FinishBundleContext context) {
    try {
      while (!pending.isEmpty()) {
        Pending next = pending.peek();
        Done done = await(next.future());
        pending.remove();
        if (done.result() != null) {
          (done.result().getCached() ? hits : calls).inc();
          if (!done.result().getCached()) {
            workerMillis.update(Math.round(1000 * done.result().getWorkerSeconds()));
          }
          context.output(done.result(), next.timestamp(), next.window());
        }
        for (DeadLetter letter : done.refused()) {
          deadLetters.inc();
          context.output(StageOutputs.DEAD_LETTERS, letter, next.timestamp(), next.window());
        }
      }
    } finally {
      close();
    }
  }

  @Teardown
  public void teardown() {
    close();
  }

  private void close() {
    if (pending != null) {
      pending.forEach(left -> left.future().cancel(true));
      pending.clear();
    }
    if (threads != null) {
      threads.shutdownNow();
      threads = null;
    }
    if (pool != null) {
      pool.close();
      pool = null;
    }
  }

  private static Done await(Future<Done> future) {
    try {
      return future.get();
    } catch (ExecutionException e) {
      if (e.getCause() instanceof RuntimeException failure) {
        throw failure;
      }
      throw GraceException.bug("a stage failed: %s", e.getCause()).withCause(e.getCause());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw GraceException.environment("interrupted while waiting for a worker").withCause(e);
    }
  }

  private Done perform(WorkerPool live, StageTask task, Map<String, byte[]> results) {
    long start = System.nanoTime();
    try {
      Ready ready = Ready.of(task, results, () -> live.engine().digest());
      StageCall call = ready.call();
      Optional<Manifest> published = ready.published();
      Manifest manifest;
      double workerSeconds = 0;
      if (published.isPresent()) {
        manifest = published.get();
      } else {
        Completed completed = call.call(live, ready.job());
        manifest = completed.manifest();
        workerSeconds = completed.workerSeconds();
      }
      StageResult result =
          StageResult.of(
              task.getId(),
              task.getStage(),
              Deterministic.bytes(manifest),
              published.isPresent(),
              workerSeconds,
              (System.nanoTime() - start) / 1e9,
              System.currentTimeMillis());
      return new Done(result, call.refused(task, manifest));
    } catch (GraceException e) {
      if (e.category() != Category.DATA) {
        throw e;
      }
      return new Done(
          null,
          List.of(DeadLetter.of(task.getStage(), task.getId(), task.getId(), e.getMessage())));
    }
  }
}
