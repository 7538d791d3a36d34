package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.EngineChecks;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.HandshakeRequest;
import io.gracebeam.proto.v1.Operation.State;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.server.testing.FaultyWorker;
import io.gracebeam.worker.server.testing.ScriptedMethods;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(60)
class WorkerServerTest {
  @TempDir Path folder;

  @Test
  void closeLeavesNoThreads() throws InterruptedException {
    ScriptedMethods methods = new ScriptedMethods();
    CountDownLatch running = new CountDownLatch(1);
    methods.inOperation(
        (request, out, progress) -> {
          running.countDown();
          while (!progress.canceled()) {
            Thread.onSpinWait();
          }
        });
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("a"));
      running.await();
    }
    assertThat(methods.closed()).isTrue();
    List<String> left = List.of("unknown");
    for (int i = 0; i < 100 && !left.isEmpty(); i++) {
      left =
          Thread.getAllStackTraces().keySet().stream()
              .filter(Thread::isAlive)
              .map(Thread::getName)
              .filter(name -> name.startsWith("grace-"))
              .toList();
      Thread.sleep(50);
    }
    assertThat(left).isEmpty();
  }

  @Test
  void shutdownTellsWatchersHowTheirOperationEnded() throws InterruptedException {
    CountDownLatch running = new CountDownLatch(1);
    ScriptedMethods methods =
        new ScriptedMethods()
            .inOperation(
                (request, out, progress) -> {
                  running.countDown();
                  while (!progress.canceled()) {
                    Thread.onSpinWait();
                  }
                });
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("a"));
      running.await();
      var watch = worker.timed().watch(WatchRequest.newBuilder().setId("a").build());
      assertThat(watch.next().getState()).isEqualTo(State.RUNNING);
      Thread closer = Thread.ofPlatform().start(worker.server::close);
      State last = State.RUNNING;
      while (watch.hasNext()) {
        last = watch.next().getState();
      }
      assertThat(last).isEqualTo(State.CANCELLED);
      closer.join();
    }
  }

  @Test
  void portInUseIsOneLine() {
    try (Loopback worker = new Loopback(folder)) {
      ScriptedMethods second = new ScriptedMethods();
      assertThatThrownBy(
              () ->
                  WorkerServer.start(
                      WorkerSettings.defaults().listeningOn("127.0.0.1", worker.server.port()),
                      second))
          .isInstanceOfSatisfying(
              GraceException.class,
              e -> {
                assertThat(e.category()).isEqualTo(Category.ENVIRONMENT);
                assertThat(e).hasMessageContaining("cannot listen on 127.0.0.1");
              });
      assertThat(second.closed()).isTrue();
    }
  }

  @Test
  void pathsOutsideTheAllowedFoldersAreRefusedAlsoThroughALink() throws Exception {
    Path inside = Files.createDirectories(folder.resolve("inside"));
    Path outside = Files.createDirectories(folder.resolve("outside"));
    Files.createSymbolicLink(inside.resolve("link"), outside);
    try (Loopback worker =
        new Loopback(
            inside,
            WorkerSettings.defaults().within(Optional.empty(), List.of(Artifacts.uri(inside))),
            new ScriptedMethods())) {
      worker.timed().submit(worker.train("good"));
      assertThat(worker.last("good").getState()).isEqualTo(State.SUCCEEDED);
      for (Path bad : List.of(outside, inside.resolve("link"), inside.resolve("link/new"))) {
        OperationRequest request =
            worker.train("bad").toBuilder().setStore(Artifacts.uri(bad).toString()).build();
        assertThatThrownBy(() -> worker.timed().submit(request))
            .hasMessageContaining("outside the folders");
      }
    }
  }

  @Test
  void faultyWorkerRefusesDelaysAndCrashes() {
    try (FaultyWorker faulty = FaultyWorker.start()) {
      ManagedChannel channel =
          NettyChannelBuilder.forAddress("127.0.0.1", faulty.port()).usePlaintext().build();
      try {
        WorkerGrpc.WorkerBlockingStub stub = WorkerGrpc.newBlockingStub(channel);
        HandshakeRequest hello = HandshakeRequest.getDefaultInstance();
        faulty.refuse("Handshake", Status.UNAVAILABLE.withDescription("soon"), 1);
        assertThatThrownBy(() -> stub.handshake(hello)).hasMessageContaining("soon");
        assertThat(stub.handshake(hello).getEngine()).isEqualTo("scripted");
        assertThat(faulty.calls("Handshake")).isEqualTo(2);
        faulty.delay("Handshake", Duration.ofMillis(400));
        assertThatThrownBy(() -> stub.withDeadlineAfter(50, TimeUnit.MILLISECONDS).handshake(hello))
            .hasMessageContaining("DEADLINE_EXCEEDED");
        faulty.delay("Handshake", Duration.ZERO).crashAfter("Handshake", 0);
        assertThatThrownBy(() -> stub.withDeadlineAfter(20, TimeUnit.SECONDS).handshake(hello))
            .isInstanceOfSatisfying(
                StatusRuntimeException.class,
                e ->
                    assertThat(e.getStatus().getCode())
                        .isIn(Status.Code.UNAVAILABLE, Status.Code.CANCELLED));
      } finally {
        channel.shutdownNow();
      }
    }
  }

  @Test
  void commandLineIsReadAndAnnounced() {
    WorkerMain.Arguments arguments =
        WorkerMain.parse(
            ("--threads 2 --device cpu --compute auto --store /s --queue 5 --operation-queue 3")
                .split(" "));
    assertThat(arguments.engine().getThreads()).isEqualTo(2);
    assertThat(arguments.settings().store()).contains(URI.create("file:///s"));
    assertThat(arguments.settings().inferenceQueue()).isEqualTo(5);
    assertThat(arguments.settings().operationQueue()).isEqualTo(3);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (WorkerServer worker =
        WorkerMain.start(
            arguments,
            engine -> new ScriptedMethods(),
            new PrintStream(out, true, StandardCharsets.UTF_8),
            System.err)) {
      assertThat(out.toString(StandardCharsets.UTF_8).strip())
          .matches(
              "grace worker listening on 127\\.0\\.0\\.1:"
                  + worker.port()
                  + " build \\S+ engine scripted");
    }
    assertThatThrownBy(() -> WorkerMain.parse("--port", "http")).hasMessageContaining("0..65535");
    assertThatThrownBy(() -> WorkerMain.parse("--prot", "1")).hasMessageContaining("--prot");
    assertThatThrownBy(() -> WorkerMain.parse("--port")).hasMessageContaining("needs a value");
  }

  @ParameterizedTest
  @CsvSource({
    "--threads,1025,0..1024",
    "--threads,-1,0..1024",
    "--threads,abc,0..1024",
    "--device,cuda:100,cpu|cuda",
    "--device,gpu,cpu|cuda",
    "--compute,int8,float32",
    "--queue,0,1..100000",
    "--operation-queue,0,1..100000",
  })
  void settingsOutOfRangeAreTheUsers(String option, String value, String allowed) {
    assertThatThrownBy(() -> WorkerMain.parse(option, value))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining("%s: '%s'", option, value)
        .hasMessageContaining(allowed);
  }

  /** Both refuse before anything native is loaded. */
  @Test
  void rangesOfFlagsAndRecipesAreTheEngines() {
    for (EngineSettings bad :
        List.of(
            EngineSettings.newBuilder().setThreads(1025).build(),
            EngineSettings.newBuilder().setDevice("cuda:100").build(),
            EngineSettings.newBuilder().setCompute("int8").build())) {
      assertThatThrownBy(() -> EngineChecks.requireOptions(bad)).isInstanceOf(GraceException.class);
      assertThatThrownBy(() -> Engines.open(bad)).isInstanceOf(GraceException.class);
    }
  }
}
