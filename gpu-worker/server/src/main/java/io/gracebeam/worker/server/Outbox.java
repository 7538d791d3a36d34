package io.gracebeam.worker.server;

import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The sending side of one server stream, for a thread that works ahead of its client: {@link #send}
 * waits until the transport takes the message, so that nothing piles up in memory behind a client
 * that reads slowly.
 */
final class Outbox<T> {
  private final ServerCallStreamObserver<T> observer;
  private final Duration stall;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();

  /** Must be made in the service method itself, before it returns. */
  Outbox(ServerCallStreamObserver<T> observer, Duration stall) {
    this.observer = observer;
    this.stall = stall;
    observer.setOnReadyHandler(this::wake);
    observer.setOnCancelHandler(this::wake);
  }

  /** Whether nobody waits for the answer any more. */
  boolean canceled() {
    return observer.isCancelled();
  }

  /**
   * Sends one message.
   *
   * @throws CancellationException if the client has gone or has not read for longer than allowed
   */
  void send(T message) {
    lock.lock();
    try {
      long left = stall.toNanos();
      while (!observer.isReady()) {
        if (observer.isCancelled()) {
          throw new CancellationException("the client has gone");
        }
        if (left <= 0) {
          throw Status.CANCELLED
              .withDescription("the client has not read for " + stall.toSeconds() + " s")
              .asRuntimeException();
        }
        long slice = Math.min(left, TimeUnit.MILLISECONDS.toNanos(200));
        left -= slice - Math.max(0, changed.awaitNanos(slice));
      }
      if (observer.isCancelled()) {
        throw new CancellationException("the client has gone");
      }
      observer.onNext(message);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw Status.UNAVAILABLE.withDescription("the worker shuts down").asRuntimeException();
    } finally {
      lock.unlock();
    }
  }

  /** Ends the stream well. */
  void complete() {
    if (!observer.isCancelled()) {
      observer.onCompleted();
    }
  }

  /** Ends the stream with an error. */
  void fail(Throwable status) {
    if (!observer.isCancelled()) {
      observer.onError(status);
    }
  }

  private void wake() {
    lock.lock();
    try {
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }
}
