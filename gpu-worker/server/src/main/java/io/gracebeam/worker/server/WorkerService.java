package io.gracebeam.worker.server;

import io.gracebeam.proto.error.Statuses;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.CancelRequest;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.HandshakeRequest;
import io.gracebeam.proto.v1.HandshakeResponse;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.worker.server.WorkMethods.EngineFacts;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * The service of {@code worker.proto}. Handlers only check, admit and hand over; work runs on
 * threads of the admission.
 */
final class WorkerService extends WorkerGrpc.WorkerImplBase {
  private final WorkMethods methods;
  private final WorkerSettings settings;
  private final Operations operations;
  private final Watchers watchers;
  private final Inference inference;
  private final Admission admission;

  WorkerService(
      WorkMethods methods,
      WorkerSettings settings,
      Operations operations,
      Watchers watchers,
      Inference inference,
      Admission admission) {
    this.methods = methods;
    this.settings = settings;
    this.operations = operations;
    this.watchers = watchers;
    this.inference = inference;
    this.admission = admission;
  }

  @Override
  public void handshake(
      HandshakeRequest request, StreamObserver<HandshakeResponse> responseObserver) {
    answer(
        responseObserver,
        () -> {
          EngineFacts facts = methods.facts();
          return HandshakeResponse.newBuilder()
              .setBuild(Builds.current())
              .setEngine(facts.description())
              .setEngineDigest(facts.digest())
              .setDevice(facts.device())
              .addAllCapabilities(capabilities())
              .build();
        });
  }

  @Override
  public void extract(ExtractRequest request, StreamObserver<ExtractResponse> responseObserver) {
    stream(responseObserver, outbox -> inference.extract(request, outbox));
  }

  @Override
  public void generate(GenerateRequest request, StreamObserver<GenerateResponse> responseObserver) {
    stream(responseObserver, outbox -> inference.generate(request, outbox));
  }

  @Override
  public void submit(OperationRequest request, StreamObserver<Operation> responseObserver) {
    answer(responseObserver, () -> operations.submit(request));
  }

  @Override
  public void watch(WatchRequest request, StreamObserver<Operation> responseObserver) {
    try {
      watchers.watch(
          operations.find(request.getId()), (ServerCallStreamObserver<Operation>) responseObserver);
    } catch (RuntimeException | Error e) {
      responseObserver.onError(Statuses.toStatus(e));
    }
  }

  @Override
  public void cancel(CancelRequest request, StreamObserver<Operation> responseObserver) {
    answer(responseObserver, () -> operations.cancel(request.getId()));
  }

  /** Operations, and the kinds of stages that Extract and Generate serve. */
  private SortedSet<String> capabilities() {
    SortedSet<String> names = new TreeSet<>(methods.capabilities());
    for (StageKind kind : StageTable.load().all()) {
      if (kind.does(ExtractRequest.getDefaultInstance())
          || kind.does(GenerateRequest.getDefaultInstance())) {
        names.add(kind.name());
      }
    }
    return names;
  }

  private static <T> void answer(StreamObserver<T> observer, Supplier<T> work) {
    T result;
    try {
      result = work.get();
    } catch (RuntimeException | Error e) {
      observer.onError(Statuses.toStatus(e));
      return;
    }
    observer.onNext(result);
    observer.onCompleted();
  }

  private <T> void stream(StreamObserver<T> observer, Consumer<Outbox<T>> work) {
    Outbox<T> outbox = new Outbox<>((ServerCallStreamObserver<T>) observer, settings.stall());
    try {
      admission.admit(
          () -> {
            if (outbox.canceled()) {
              return;
            }
            try {
              work.accept(outbox);
              outbox.complete();
            } catch (RuntimeException | Error e) {
              outbox.fail(Statuses.toStatus(e));
            }
          });
    } catch (StatusRuntimeException e) {
      observer.onError(e);
    }
  }
}
