package io.gracebeam.transforms.client;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.Any;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.transforms.testing.FakeWorker;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class WorkerPoolTest {
  @TempDir Path temp;

  @AfterEach
  void noChannelIsLeft() {
    assertThat(Workers.liveChannels()).isZero();
  }

  private OperationRequest operation(String id) {
    return OperationRequest.newBuilder()
        .setId(id)
        .setStore(temp.resolve("store").toUri().toString())
        .setStage("train")
        .putInputs("student", ArtifactRef.getDefaultInstance())
        .putInputs("dataset", ArtifactRef.getDefaultInstance())
        .setWork(Any.pack(TrainWork.getDefaultInstance()))
        .build();
  }

  @Test
  void retriesWhatMayBeRetried() {
    for (Status.Code code : List.of(Status.Code.UNAVAILABLE, Status.Code.RESOURCE_EXHAUSTED)) {
      Faults faults = Faults.none().withFailures(2, code);
      try (InProcessWorkers workers = InProcessWorkers.start(faults);
          WorkerPool pool = workers.client().open()) {
        assertThat(pool.run(operation("key-" + code)).manifest().getStageKey())
            .isEqualTo("key-" + code);
        assertThat(workers.calls()).isEqualTo(3);
      }
    }
  }

  @Test
  void doesNotRetryWhatCannotHelp() {
    record Case(Status.Code code, Category category) {}
    for (Case c :
        List.of(
            new Case(Status.Code.INVALID_ARGUMENT, Category.DATA),
            new Case(Status.Code.FAILED_PRECONDITION, Category.USER),
            new Case(Status.Code.PERMISSION_DENIED, Category.ENVIRONMENT))) {
      try (InProcessWorkers workers =
              InProcessWorkers.start(Faults.none().withFailures(1, c.code()));
          WorkerPool pool = workers.client().open()) {
        assertThatThrownBy(() -> pool.run(operation("k")))
            .isInstanceOfSatisfying(
                GraceException.class, e -> assertThat(e.category()).isEqualTo(c.category()))
            .hasMessage("injected fault");
        assertThat(workers.calls()).isEqualTo(1);
      }
    }
  }

  @Test
  void watchesAgainAfterABrokenStreamAndDoesTheWorkOnce() {
    Faults faults = Faults.none().withBrokenStreams(3).withLatency(Duration.ofMillis(100));
    try (InProcessWorkers workers = InProcessWorkers.start(faults);
        WorkerPool pool = workers.client().withAttempts(2).open()) {
      assertThat(pool.run(operation("k")).workerSeconds()).isEqualTo(0.25);
      assertThat(workers.executions()).isEqualTo(1);
    }
  }

  @Test
  void looksUpAQuietOperationAgain() {
    try (InProcessWorkers workers =
            InProcessWorkers.start(Faults.none().withLatency(Duration.ofMillis(600)));
        WorkerPool pool =
            workers.client().withWatchDeadline(Duration.ofMillis(100)).withAttempts(1).open()) {
      pool.run(operation("k"));
      assertThat(workers.executions()).isEqualTo(1);
      assertThat(workers.calls()).isGreaterThan(2);
    }
  }

  @Test
  void anotherWorkerTakesOverFromAKilledOne() {
    Faults dying = Faults.none().withDeathInCall(1).withLatency(Duration.ofMillis(50));
    try (InProcessWorkers workers = InProcessWorkers.start(dying, dying, Faults.none());
        WorkerPool pool = workers.client().open()) {
      for (int i = 0; i < 8; i++) {
        assertThat(pool.run(operation("k" + i)).manifest().getArtifact().getBytes()).isPositive();
      }
      assertThat(workers.executions()).isEqualTo(8);
      assertThat(workers.all().get(2).executions()).isEqualTo(8);
    }
  }

  @Test
  void sameIdGoesToTheSameWorkerAndIdsSpread() {
    try (InProcessWorkers workers = InProcessWorkers.start(3);
        WorkerPool pool = workers.client().open()) {
      // A third each, and ports differ from run to run: 30 is 5 standard deviations below 67.
      IntStream.range(0, 200).forEach(i -> pool.run(operation("k" + i)));
      List<Integer> once = workers.all().stream().map(FakeWorker::calls).toList();
      assertThat(once).allMatch(calls -> calls >= 30);
      IntStream.range(0, 200).forEach(i -> pool.run(operation("k" + i)));
      assertThat(workers.all().stream().map(FakeWorker::calls).toList())
          .isEqualTo(once.stream().map(calls -> 2 * calls).toList());
      assertThat(workers.executions()).isEqualTo(200);
    }
  }

  @Test
  void oneChannelAndOneHandshakeForManyClients() {
    try (FakeWorker worker = FakeWorker.start()) {
      Workers workers = Workers.of(worker.endpoint());
      try (WorkerPool a = workers.open();
          WorkerPool b = workers.open()) {
        assertThat(Workers.liveChannels()).isEqualTo(1);
        List<CompletableFuture<Engine>> asked =
            IntStream.range(0, 8)
                .mapToObj(i -> CompletableFuture.supplyAsync(() -> (i % 2 == 0 ? a : b).engine()))
                .toList();
        assertThat(asked).allMatch(f -> f.join().digest().equals(FakeWorker.ENGINE_DIGEST));
        assertThat(worker.handshakes()).isEqualTo(1);
        a.close();
        a.close();
        assertThat(Workers.liveChannels()).isEqualTo(1);
        assertThat(b.run(operation("k")).manifest().getStage()).isEqualTo("train");
      }
    }
  }

  @Test
  void callsInFlightAreBounded() {
    try (InProcessWorkers workers =
            InProcessWorkers.start(Faults.none().withLatency(Duration.ofMillis(150)));
        WorkerPool pool = workers.client().withMaxInFlight(1).open()) {
      long start = System.nanoTime();
      List<CompletableFuture<Completed>> all =
          IntStream.range(0, 3)
              .mapToObj(
                  i ->
                      CompletableFuture.supplyAsync(
                          () -> pool.run(operation("k" + i)), task -> new Thread(task).start()))
              .toList();
      all.forEach(CompletableFuture::join);
      assertThat(Duration.ofNanos(System.nanoTime() - start)).isGreaterThan(Duration.ofMillis(440));
    }
  }

  @Test
  void differentEnginesAreRefused() {
    try (FakeWorker one = FakeWorker.start(Faults.none(), Builds.current(), "engine-a");
        FakeWorker two = FakeWorker.start(Faults.none(), Builds.current(), "engine-b");
        WorkerPool pool = Workers.of(one.endpoint(), two.endpoint()).open()) {
      assertThatThrownBy(() -> IntStream.range(0, 30).forEach(i -> pool.run(operation("k" + i))))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.ENVIRONMENT))
          .hasMessageContaining("different engines");
    }
  }

  @Test
  void unitsComeWholeOrAgain() {
    Faults dying = Faults.none().withDeathInCall(1);
    try (InProcessWorkers workers = InProcessWorkers.start(dying, dying, Faults.none());
        WorkerPool pool = workers.client().open()) {
      ExtractRequest unit =
          ExtractRequest.newBuilder()
              .setId("u")
              .setCount(6)
              .setStore(temp.resolve("store").toUri().toString())
              .build();
      assertThat(pool.extract(unit).manifest().getArtifact().getKind())
          .isEqualTo("teacher-signals");
      GenerateRequest.Builder questions =
          GenerateRequest.newBuilder()
              .setId("g")
              .setModel(ArtifactRef.newBuilder().setSha256("ab"));
      IntStream.range(0, 5)
          .forEach(i -> questions.addQuestions(Question.newBuilder().setId("q" + i)));
      assertThat(pool.generate(questions.build()).keySet())
          .containsExactly("q0", "q1", "q2", "q3", "q4");
    }
  }

  @Test
  void questionIdsMustDiffer() {
    try (InProcessWorkers workers = InProcessWorkers.start(1);
        WorkerPool pool = workers.client().open()) {
      Question question = Question.newBuilder().setId("q").build();
      assertThatThrownBy(
              () ->
                  pool.generate(
                      GenerateRequest.newBuilder()
                          .addQuestions(question)
                          .addQuestions(question)
                          .build()))
          .hasMessageContaining("question id 'q' stands twice");
      assertThat(workers.calls()).isZero();
    }
  }

  @Test
  void addressesAreChecked() {
    assertThatThrownBy(() -> Workers.of(List.of())).hasMessageContaining("at least one host:port");
    for (String bad : List.of("host", "host:", "host:0", "host:70000", "http://host:1/x")) {
      assertThatThrownBy(() -> Workers.of(bad))
          .hasMessageContaining("'" + bad + "' is not host:port");
    }
    assertThatThrownBy(() -> Workers.of("h:1").withMaxInFlight(0))
        .hasMessageContaining("maxInFlight is 0");
  }

  @Test
  void configurationTravels() throws Exception {
    Workers workers = Workers.of("a:1", "b:2").withMaxInFlight(7).withBackoff(Duration.ofMillis(3));
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(workers);
    }
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      assertThat(in.readObject()).isEqualTo(workers);
    }
  }
}
