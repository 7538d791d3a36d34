package io.gracebeam.worker.server.testing;

import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.worker.server.WorkMethods;
import io.gracebeam.worker.server.WorkerServer;
import io.gracebeam.worker.server.WorkerSettings;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A real worker on the loopback address that misbehaves on demand: answers with a status, answers
 * late, or breaks its connections in the middle of a stream. Methods are named as in {@code
 * worker.proto}, without package: "Generate".
 */
public final class FaultyWorker implements EmbeddedWorker {

  private record Refusal(Status status, AtomicInteger left) {}

  private static final class Faults implements ServerInterceptor {
    final Map<String, Refusal> refusals = new ConcurrentHashMap<>();
    final Map<String, Duration> delays = new ConcurrentHashMap<>();
    final Map<String, AtomicInteger> crashes = new ConcurrentHashMap<>();
    final Map<String, AtomicInteger> calls = new ConcurrentHashMap<>();
    final CountDownLatch crashed = new CountDownLatch(1);

    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(
        ServerCall<A, B> call, Metadata headers, ServerCallHandler<A, B> next) {
      String method = call.getMethodDescriptor().getBareMethodName();
      calls.computeIfAbsent(method, key -> new AtomicInteger()).incrementAndGet();
      Duration delay = delays.get(method);
      if (delay != null) {
        try {
          Thread.sleep(delay);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
      }
      Refusal refusal = refusals.get(method);
      if (refusal != null && refusal.left().getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
        call.close(refusal.status(), new Metadata());
        return new ServerCall.Listener<>() {};
      }
      AtomicInteger messages = crashes.get(method);
      if (messages == null) {
        return next.startCall(call, headers);
      }
      return next.startCall(
          new SimpleForwardingServerCall<>(call) {
            @Override
            public void sendMessage(B message) {
              if (messages.getAndDecrement() > 0) {
                super.sendMessage(message);
              } else {
                crashed.countDown();
              }
            }

            @Override
            public void close(Status status, Metadata trailers) {
              if (crashed.getCount() > 0) {
                super.close(status, trailers);
              }
            }
          },
          headers);
    }
  }

  private final Faults faults;
  private final WorkerServer server;
  private final Thread reaper;

  private FaultyWorker(Faults faults, WorkerServer server) {
    this.faults = faults;
    this.server = server;
    this.reaper = Thread.ofPlatform().daemon().name("grace-faulty").start(this::crashWhenTold);
  }

  /** A worker over {@link ScriptedMethods} that behaves well until it is told otherwise. */
  public static FaultyWorker start() {
    return start(WorkerSettings.defaults(), new ScriptedMethods());
  }

  /** A worker over given work that behaves well until it is told otherwise. */
  public static FaultyWorker start(WorkerSettings settings, WorkMethods methods) {
    Faults faults = new Faults();
    return new FaultyWorker(faults, WorkerServer.start(settings, methods, faults));
  }

  /** The next {@code times} calls of a method end with a status at once. */
  public FaultyWorker refuse(String method, Status status, int times) {
    faults.refusals.put(method, new Refusal(status, new AtomicInteger(times)));
    return this;
  }

  /** Calls of a method begin late. */
  public FaultyWorker delay(String method, Duration delay) {
    faults.delays.put(method, delay);
    return this;
  }

  /** The whole worker dies when a method would send its message number {@code messages + 1}. */
  public FaultyWorker crashAfter(String method, int messages) {
    faults.crashes.put(method, new AtomicInteger(messages));
    return this;
  }

  /** Calls of a method so far, refused ones included. */
  public int calls(String method) {
    AtomicInteger count = faults.calls.get(method);
    return count == null ? 0 : count.get();
  }

  @Override
  public int port() {
    return server.port();
  }

  @Override
  public void close() {
    reaper.interrupt();
    server.close();
  }

  private void crashWhenTold() {
    try {
      faults.crashed.await();
      server.crash();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
