package io.gracebeam.transforms.testing;

import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.Statuses;
import io.gracebeam.proto.stage.Executor;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.CancelRequest;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.HandshakeRequest;
import io.gracebeam.proto.v1.HandshakeResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/** The services of a fake worker; see {@link FakeWorker}. */
final class FakeService extends WorkerGrpc.WorkerImplBase {
  private final Faults faults;
  private final String build;
  private final String engineDigest;
  private final AtomicInteger calls = new AtomicInteger();
  private final AtomicInteger executions = new AtomicInteger();
  private final AtomicInteger handshakes = new AtomicInteger();
  private final AtomicInteger watches = new AtomicInteger();
  private final Map<String, CompletableFuture<Operation>> operations = new ConcurrentHashMap<>();
  private final ExecutorService threads =
      Executors.newCachedThreadPool(
          runnable -> {
            Thread thread = new Thread(runnable, "fake-worker");
            thread.setDaemon(true);
            return thread;
          });
  private volatile Runnable death = () -> {};

  FakeService(Faults faults, String build, String engineDigest) {
    this.faults = faults;
    this.build = build;
    this.engineDigest = engineDigest;
  }

  void onDeath(Runnable action) {
    death = action;
  }

  int calls() {
    return calls.get();
  }

  int executions() {
    return executions.get();
  }

  int handshakes() {
    return handshakes.get();
  }

  void close() {
    threads.shutdownNow();
  }

  @Override
  public void handshake(HandshakeRequest request, StreamObserver<HandshakeResponse> out) {
    handshakes.incrementAndGet();
    out.onNext(
        HandshakeResponse.newBuilder()
            .setBuild(build)
            .setEngine("fake 1")
            .setEngineDigest(engineDigest)
            .setDevice("loopback")
            .addAllCapabilities(
                StageTable.load().all().stream()
                    .filter(kind -> kind.executor() == Executor.WORKER)
                    .map(StageKind::name)
                    .toList())
            .build());
    out.onCompleted();
  }

  /** Counts a call; true if the worker dies in it. */
  private boolean enter() {
    int number = calls.incrementAndGet();
    if (number <= faults.failFirst()) {
      throw Status.fromCode(faults.code()).withDescription("injected fault").asRuntimeException();
    }
    return number == faults.dieAfter();
  }

  @Override
  public void submit(OperationRequest request, StreamObserver<Operation> out) {
    try {
      boolean dies = enter();
      StageKind kind = StageTable.load().get(request.getStage());
      kind.checkInputs(request.getId(), request.getInputsMap().keySet());
      kind.unpack(request.getId(), request.getWork());
      CompletableFuture<Operation> work =
          operations.computeIfAbsent(
              request.getId(),
              id -> CompletableFuture.supplyAsync(() -> perform(request, dies), threads));
      out.onNext(work.isDone() ? work.join() : running(request.getId()));
      out.onCompleted();
    } catch (RuntimeException e) {
      out.onError(Statuses.toStatus(e));
    }
  }

  private static Operation running(String id) {
    return Operation.newBuilder()
        .setId(id)
        .setState(Operation.State.RUNNING)
        .setProgress(0.5)
        .build();
  }

  private Operation perform(OperationRequest request, boolean dies) {
    sleep();
    if (dies) {
      death.run();
      throw new IllegalStateException("dead");
    }
    try {
      Manifest manifest = published(request);
      return Operation.newBuilder()
          .setId(request.getId())
          .setState(Operation.State.SUCCEEDED)
          .setProgress(1)
          .setResult(manifest)
          .setWorkerSeconds(0.25)
          .build();
    } catch (RuntimeException e) {
      return Operation.newBuilder()
          .setId(request.getId())
          .setState(Operation.State.FAILED)
          .setMessage(String.valueOf(e.getMessage()))
          .setErrorCategory(
              e instanceof io.gracebeam.proto.error.GraceException grace
                  ? grace.category().name().toLowerCase(java.util.Locale.ROOT)
                  : "bug")
          .build();
    }
  }

  private Manifest published(OperationRequest request) {
    ArtifactStore store = ArtifactStore.open(Artifacts.uri("store", request.getStore()));
    return store
        .find(request.getId())
        .orElseGet(
            () -> {
              executions.incrementAndGet();
              return FakeArtifacts.operation(store, request, engineDigest);
            });
  }

  private void sleep() {
    try {
      Thread.sleep(faults.latency().toMillis());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void watch(WatchRequest request, StreamObserver<Operation> out) {
    CompletableFuture<Operation> work = operations.get(request.getId());
    if (work == null) {
      out.onError(
          Status.NOT_FOUND.withDescription("operation " + request.getId()).asRuntimeException());
      return;
    }
    out.onNext(running(request.getId()));
    if (watches.incrementAndGet() <= faults.breakStreams()) {
      out.onError(Status.UNAVAILABLE.withDescription("injected break").asRuntimeException());
      return;
    }
    work.whenComplete(
        (operation, failure) -> {
          if (failure != null) {
            out.onError(Status.UNAVAILABLE.withDescription("the worker died").asRuntimeException());
          } else {
            out.onNext(operation);
            out.onCompleted();
          }
        });
  }

  @Override
  public void cancel(CancelRequest request, StreamObserver<Operation> out) {
    operations.remove(request.getId());
    out.onNext(
        Operation.newBuilder().setId(request.getId()).setState(Operation.State.CANCELLED).build());
    out.onCompleted();
  }

  @Override
  public void extract(ExtractRequest request, StreamObserver<ExtractResponse> out) {
    try {
      boolean dies = enter();
      sleep();
      List<ExampleSignal> examples = FakeArtifacts.examples(request, faults.badIds());
      for (int i = 0; i < examples.size(); i++) {
        if (dies && i == examples.size() / 2) {
          death.run();
          return;
        }
        out.onNext(ExtractResponse.newBuilder().setExample(examples.get(i)).build());
      }
      ArtifactStore store = ArtifactStore.open(Artifacts.uri("store", request.getStore()));
      Manifest manifest =
          store
              .find(request.getId())
              .orElseGet(
                  () -> {
                    executions.incrementAndGet();
                    return FakeArtifacts.signals(store, request, examples, engineDigest);
                  });
      out.onNext(ExtractResponse.newBuilder().setArtifact(manifest).build());
      out.onCompleted();
    } catch (StatusRuntimeException e) {
      out.onError(e);
    } catch (RuntimeException e) {
      out.onError(Statuses.toStatus(e));
    }
  }

  @Override
  public void generate(GenerateRequest request, StreamObserver<GenerateResponse> out) {
    try {
      boolean dies = enter();
      sleep();
      executions.incrementAndGet();
      int answered = 0;
      for (Question question : request.getQuestionsList()) {
        if (dies && answered++ == request.getQuestionsCount() / 2) {
          death.run();
          return;
        }
        out.onNext(FakeArtifacts.answer(request, question, faults.badIds()));
      }
      out.onCompleted();
    } catch (RuntimeException e) {
      out.onError(Statuses.toStatus(e));
    }
  }
}
