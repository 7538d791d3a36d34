package io.gracebeam.worker.server;

import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Bounds the inference calls that run and wait; sheds the rest at once instead of letting them time
 * out.
 */
final class Admission implements AutoCloseable {
  private final int running;
  private final int waiting;
  private final ThreadPoolExecutor executor;

  Admission(int running, int waiting) {
    this.running = running;
    this.waiting = waiting;
    this.executor =
        new ThreadPoolExecutor(
            running,
            running,
            0,
            TimeUnit.SECONDS,
            new ArrayBlockingQueue<>(waiting),
            Threads.named("grace-inference"));
  }

  /**
   * Runs a task now or later.
   *
   * @throws io.grpc.StatusRuntimeException RESOURCE_EXHAUSTED if too many wait, UNAVAILABLE if the
   *     worker shuts down
   */
  void admit(Runnable task) {
    try {
      executor.execute(task);
    } catch (RejectedExecutionException e) {
      throw executor.isShutdown()
          ? Status.UNAVAILABLE.withDescription("the worker shuts down").asRuntimeException()
          : Status.RESOURCE_EXHAUSTED
              .withDescription(
                  "the worker's queue is full: "
                      + running
                      + " calls run, "
                      + waiting
                      + " wait; retry later or add workers")
              .asRuntimeException();
    }
  }

  /** Lets admitted tasks end; interrupts them when the time is over. */
  boolean stop(Duration grace) {
    executor.shutdown();
    try {
      if (executor.awaitTermination(grace.toMillis(), TimeUnit.MILLISECONDS)) {
        return true;
      }
      executor.shutdownNow();
      return executor.awaitTermination(1, TimeUnit.SECONDS);
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
