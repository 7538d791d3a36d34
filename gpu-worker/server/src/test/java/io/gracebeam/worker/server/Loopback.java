package io.gracebeam.worker.server;

import com.google.protobuf.Any;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.worker.server.testing.ScriptedMethods;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A worker over scripted work, a client's channel to it, and a store and inputs in a folder. */
final class Loopback implements AutoCloseable {
  final Path folder;
  final ScriptedMethods methods;
  final WorkerServer server;
  final ManagedChannel channel;
  final WorkerGrpc.WorkerBlockingStub stub;

  Loopback(Path folder, WorkerSettings settings, ScriptedMethods methods) {
    this.folder = folder;
    this.methods = methods;
    this.server = WorkerServer.start(settings, methods);
    this.channel =
        NettyChannelBuilder.forAddress("127.0.0.1", server.port()).usePlaintext().build();
    this.stub = WorkerGrpc.newBlockingStub(channel);
  }

  Loopback(Path folder) {
    this(folder, WorkerSettings.defaults(), new ScriptedMethods());
  }

  WorkerGrpc.WorkerBlockingStub timed() {
    return stub.withDeadlineAfter(20, TimeUnit.SECONDS);
  }

  Path store() {
    return folder.resolve("store");
  }

  /** An input folder with one file. */
  ArtifactRef input(String name) {
    Path input = folder.resolve(name);
    try {
      Files.createDirectories(input);
      Files.writeString(input.resolve("content.txt"), name);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return Artifacts.given("model", input);
  }

  OperationRequest train(String id) {
    return OperationRequest.newBuilder()
        .setId(id)
        .setStore(Artifacts.uri(store()).toString())
        .setSeed(7)
        .putInputs("student", input("student"))
        .putInputs("dataset", input("dataset"))
        .setStage("train")
        .setWork(Any.pack(TrainWork.newBuilder().setShards(1).setRounds(1).build()))
        .build();
  }

  List<Operation> watch(String id) {
    List<Operation> seen = new ArrayList<>();
    timed().watch(WatchRequest.newBuilder().setId(id).build()).forEachRemaining(seen::add);
    return seen;
  }

  Operation last(String id) {
    return watch(id).getLast();
  }

  List<Path> leftovers() {
    Path tmp = store().resolve("tmp");
    if (!Files.exists(tmp)) {
      return List.of();
    }
    try (var list = Files.list(tmp)) {
      return list.toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    channel.shutdownNow();
    server.close();
  }
}
