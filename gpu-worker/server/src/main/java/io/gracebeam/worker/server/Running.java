package io.gracebeam.worker.server;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.Operation.State;
import io.gracebeam.proto.v1.OperationRequest;
import java.net.URI;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.stream.Collectors;

/** State of one operation. Safe for use by several threads. */
final class Running implements WorkMethods.Progress {
  private final OperationRequest request;
  private final URI root;
  private final Operation.Builder state;
  private final Set<Runnable> atEnd = new LinkedHashSet<>();
  private volatile boolean canceled;
  private volatile Runnable task = () -> {};
  private long started;

  Running(OperationRequest request, URI root) {
    this.request = request;
    this.root = root;
    this.state =
        Operation.newBuilder()
            .setId(request.getId())
            .setState(State.QUEUED)
            .setMessage("waiting for its turn");
  }

  /** An operation of an earlier process, whose result is published. */
  static Running finished(String id, Manifest result) {
    Running running = new Running(OperationRequest.newBuilder().setId(id).build(), null);
    running.succeed(result);
    return running;
  }

  String id() {
    return request.getId();
  }

  OperationRequest request() {
    return request;
  }

  URI root() {
    return root;
  }

  /** Keeps the task that was queued for it, so that a canceled one gives its place back. */
  Runnable doing(Runnable queued) {
    task = queued;
    return queued;
  }

  /** The task of {@link #doing}. */
  Runnable task() {
    return task;
  }

  /** Whether a request asks for the same; where inputs lie and where results go does not count. */
  boolean sameWork(OperationRequest other) {
    return stripped(request).equals(stripped(other)) && digests(request).equals(digests(other));
  }

  private static OperationRequest stripped(OperationRequest request) {
    return request.toBuilder().clearStore().clearInputs().build();
  }

  private static Map<String, String> digests(OperationRequest request) {
    return request.getInputsMap().entrySet().stream()
        .collect(Collectors.toMap(Map.Entry::getKey, entry -> digest(entry.getValue())));
  }

  private static String digest(ArtifactRef ref) {
    return ref.getSha256();
  }

  /** Whether it waits or runs. */
  synchronized boolean pending() {
    return state.getState() == State.QUEUED || state.getState() == State.RUNNING;
  }

  /** The state now. */
  synchronized Operation snapshot() {
    if (state.getState() == State.RUNNING) {
      state.setWorkerSeconds((System.nanoTime() - started) * 1e-9);
    }
    return state.build();
  }

  /** Moves from waiting to running; false if it was canceled before. */
  synchronized boolean start() {
    if (state.getState() != State.QUEUED) {
      return false;
    }
    started = System.nanoTime();
    state.setState(State.RUNNING).setMessage("starting");
    return true;
  }

  @Override
  public void report(double fraction, String what) {
    if (canceled) {
      throw new CancellationException("canceled");
    }
    synchronized (this) {
      state.setProgress(Math.clamp(fraction, 0, 1)).setMessage(Lines.oneLine(what));
    }
  }

  @Override
  public boolean canceled() {
    return canceled;
  }

  /** Asks it to stop. */
  void cancel() {
    boolean waiting;
    synchronized (this) {
      if (!pending()) {
        return;
      }
      canceled = true;
      waiting = state.getState() == State.QUEUED;
    }
    if (waiting) {
      end(State.CANCELLED, "canceled while it waited", null);
    }
  }

  void succeed(Manifest result) {
    List<Runnable> tell;
    synchronized (this) {
      snapshot();
      state.setState(State.SUCCEEDED).setProgress(1).setMessage("done").setResult(result);
      tell = new ArrayList<>(atEnd);
      atEnd.clear();
    }
    tell.forEach(Runnable::run);
  }

  void end(State how, String message, Category category) {
    List<Runnable> tell;
    synchronized (this) {
      if (!pending()) {
        return;
      }
      snapshot();
      state.setState(how).setMessage(message);
      if (category != null) {
        state.setErrorCategory(category.wireName());
      }
      tell = new ArrayList<>(atEnd);
      atEnd.clear();
    }
    tell.forEach(Runnable::run);
  }

  /** Runs a task when the operation has ended; at once if it has. */
  void whenEnded(Runnable task) {
    synchronized (this) {
      if (pending()) {
        atEnd.add(task);
        return;
      }
    }
    task.run();
  }

  /** Takes back {@link #whenEnded}. */
  synchronized void forget(Runnable task) {
    atEnd.remove(task);
  }
}
