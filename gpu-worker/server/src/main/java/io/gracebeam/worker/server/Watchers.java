package io.gracebeam.worker.server;

import io.gracebeam.proto.v1.Operation;
import io.grpc.stub.ServerCallStreamObserver;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Streams progress: the state at once, changes at most four times a second, the final state always.
 * A client that does not read misses changes in between; nothing is kept for it.
 */
final class Watchers implements AutoCloseable {
  private static final long PERIOD_MILLIS = 250;
  private static final long HEARTBEAT_NANOS = TimeUnit.SECONDS.toNanos(2);

  private final ScheduledExecutorService clock;

  Watchers() {
    ScheduledThreadPoolExecutor executor =
        new ScheduledThreadPoolExecutor(1, Threads.named("grace-watch"));
    executor.setRemoveOnCancelPolicy(true);
    clock = executor;
  }

  /** Serves one watcher until the operation ends or the watcher leaves. */
  void watch(Running running, ServerCallStreamObserver<Operation> observer) {
    new Watch(running, observer).begin();
  }

  private final class Watch {
    private final Running running;
    private final ServerCallStreamObserver<Operation> observer;
    private final Runnable atEnd = this::end;
    private ScheduledFuture<?> ticks;
    private Operation last;
    private long lastNanos;
    private boolean over;

    Watch(Running running, ServerCallStreamObserver<Operation> observer) {
      this.running = running;
      this.observer = observer;
    }

    void begin() {
      observer.setOnCancelHandler(this::leave);
      synchronized (this) {
        tell(running.snapshot());
        ticks =
            clock.scheduleAtFixedRate(
                this::tick, PERIOD_MILLIS, PERIOD_MILLIS, TimeUnit.MILLISECONDS);
      }
      running.whenEnded(atEnd);
    }

    private synchronized void tick() {
      if (over || !observer.isReady()) {
        return;
      }
      Operation now = running.snapshot();
      boolean changed =
          now.getState() != last.getState()
              || now.getProgress() != last.getProgress()
              || !now.getMessage().equals(last.getMessage());
      if (changed || System.nanoTime() - lastNanos > HEARTBEAT_NANOS) {
        tell(now);
      }
    }

    private void tell(Operation now) {
      if (!over && !ended(now) && !observer.isCancelled()) {
        observer.onNext(now);
        last = now;
        lastNanos = System.nanoTime();
      }
    }

    private synchronized void end() {
      if (over) {
        return;
      }
      over = true;
      ticks.cancel(false);
      if (!observer.isCancelled()) {
        observer.onNext(running.snapshot());
        observer.onCompleted();
      }
    }

    private synchronized void leave() {
      over = true;
      if (ticks != null) {
        ticks.cancel(false);
      }
      running.forget(atEnd);
    }

    private static boolean ended(Operation now) {
      return switch (now.getState()) {
        case SUCCEEDED, FAILED, CANCELLED -> true;
        default -> false;
      };
    }
  }

  @Override
  public void close() {
    clock.shutdownNow();
  }
}
