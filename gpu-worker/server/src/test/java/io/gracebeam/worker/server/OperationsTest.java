package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.error.Statuses;
import io.gracebeam.proto.v1.CancelRequest;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.Operation.State;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.worker.server.testing.ScriptedMethods;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class OperationsTest {
  @TempDir Path folder;

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  void publishesItsResultUnderTheStageKey() throws IOException {
    try (Loopback worker = new Loopback(folder)) {
      worker.timed().submit(worker.train("key-1"));
      Operation done = worker.last("key-1");
      assertThat(done.getState()).isEqualTo(State.SUCCEEDED);
      assertThat(done.getProgress()).isEqualTo(1);
      assertThat(done.getWorkerSeconds()).isPositive();
      assertThat(done.getResult().getStageKey()).isEqualTo("key-1");
      assertThat(done.getResult().getStage()).isEqualTo("train");
      assertThat(done.getResult().getArtifact().getKind()).isEqualTo("trained");
      assertThat(done.getResult().getMeasuresMap()).containsEntry("loss", 1.25);
      assertThat(done.getResult().getInputsMap()).containsOnlyKeys("student", "dataset");
      assertThat(Files.readString(Artifacts.fetch(done.getResult().getArtifact(), "result.txt")))
          .isEqualTo("train 7 [dataset, student]");
      assertThat(worker.leftovers()).isEmpty();
    }
  }

  @Test
  void repeatedSubmitFindsTheRunningAndTheFinishedOperation() {
    CountDownLatch go = new CountDownLatch(1);
    ScriptedMethods methods =
        new ScriptedMethods().inOperation((request, out, progress) -> await(go));
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      OperationRequest request = worker.train("key-1");
      worker.timed().submit(request);
      Operation again = worker.timed().submit(request);
      assertThat(again.getState()).isIn(State.QUEUED, State.RUNNING);
      go.countDown();
      assertThat(worker.last("key-1").getState()).isEqualTo(State.SUCCEEDED);
      assertThat(worker.timed().submit(request).getState()).isEqualTo(State.SUCCEEDED);
      assertThat(methods.operations()).isEqualTo(1);
    }
  }

  @Test
  void anotherWorkerFindsThePublishedResult() {
    Operation first;
    try (Loopback worker = new Loopback(folder)) {
      worker.timed().submit(worker.train("key-1"));
      first = worker.last("key-1");
    }
    try (Loopback worker =
        new Loopback(
            folder,
            WorkerSettings.defaults()
                .within(Optional.of(Artifacts.uri(folder.resolve("store"))), List.of()),
            new ScriptedMethods())) {
      assertThat(worker.last("key-1").getResult()).isEqualTo(first.getResult());
      Operation found = worker.timed().submit(worker.train("key-1"));
      assertThat(found.getState()).isEqualTo(State.SUCCEEDED);
      assertThat(found.getResult()).isEqualTo(first.getResult());
      assertThat(worker.methods.operations()).isZero();
    }
  }

  @Test
  void resultThatWasDeletedIsComputedAgain() throws IOException {
    try (Loopback worker = new Loopback(folder)) {
      worker.timed().submit(worker.train("key-1"));
      Operation first = worker.last("key-1");
      Files.delete(worker.store().resolve("keys").resolve("key-1.json"));
      worker.timed().submit(worker.train("key-1"));
      assertThat(worker.last("key-1").getResult()).isEqualTo(first.getResult());
      assertThat(worker.methods.operations()).isEqualTo(2);
    }
  }

  @Test
  void oneIdStandsForOnePieceOfWork() {
    try (Loopback worker = new Loopback(folder)) {
      worker.timed().submit(worker.train("key-1"));
      OperationRequest other = worker.train("key-1").toBuilder().setSeed(8).build();
      assertThatThrownBy(() -> worker.timed().submit(other)).hasMessageContaining("other work");
    }
  }

  @Test
  void crashInTheWorkFailsWithCategoryAndOneLineAndMayBeTriedAgain() {
    AtomicBoolean crash = new AtomicBoolean(true);
    ScriptedMethods methods =
        new ScriptedMethods()
            .inOperation(
                (request, out, progress) -> {
                  if (crash.get()) {
                    throw new IllegalStateException("tensor [3]\nsecond line");
                  }
                });
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("key-1"));
      Operation failed = worker.last("key-1");
      assertThat(failed.getState()).isEqualTo(State.FAILED);
      assertThat(failed.getErrorCategory()).isEqualTo("bug");
      assertThat(failed.getMessage()).isEqualTo("IllegalStateException: tensor [3]");
      assertThat(worker.leftovers()).isEmpty();
      crash.set(false);
      worker.timed().submit(worker.train("key-1"));
      assertThat(worker.last("key-1").getState()).isEqualTo(State.SUCCEEDED);
    }
  }

  @Test
  void categoryOfTheWorksErrorSurvives() {
    ScriptedMethods methods =
        new ScriptedMethods()
            .inOperation(
                (request, out, progress) -> {
                  throw GraceException.user("group size 48 does not divide 64; allowed: divisors");
                });
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("key-1"));
      Operation failed = worker.last("key-1");
      assertThat(failed.getErrorCategory()).isEqualTo("user");
      assertThat(failed.getMessage())
          .isEqualTo("group size 48 does not divide 64; allowed: divisors");
    }
  }

  @Test
  void cancelStopsWhatRunsAndWhatWaits() throws InterruptedException {
    CountDownLatch running = new CountDownLatch(1);
    ScriptedMethods methods =
        new ScriptedMethods()
            .inOperation(
                (request, out, progress) -> {
                  running.countDown();
                  while (true) {
                    progress.report(0.1, "step");
                    Thread.yield();
                  }
                });
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("runs"));
      worker.timed().submit(worker.train("waits"));
      running.await();
      Operation waiting = worker.timed().cancel(CancelRequest.newBuilder().setId("waits").build());
      assertThat(waiting.getState()).isEqualTo(State.CANCELLED);
      worker.timed().cancel(CancelRequest.newBuilder().setId("runs").build());
      assertThat(worker.last("runs").getState()).isEqualTo(State.CANCELLED);
      assertThat(worker.leftovers()).isEmpty();
      assertThat(methods.operations()).isEqualTo(1);
      methods.inOperation((request, out, progress) -> {});
      worker.timed().submit(worker.train("runs"));
      assertThat(worker.last("runs").getState()).isEqualTo(State.SUCCEEDED);
    }
  }

  @Test
  void fullQueueRefusesWithOneClearLine() {
    CountDownLatch go = new CountDownLatch(1);
    ScriptedMethods methods =
        new ScriptedMethods().inOperation((request, out, progress) -> await(go));
    try (Loopback worker =
        new Loopback(folder, WorkerSettings.defaults().admitting(4, 1), methods)) {
      worker.timed().submit(worker.train("a"));
      while (methods.operations() == 0) {
        Thread.onSpinWait();
      }
      worker.timed().submit(worker.train("b"));
      assertThatThrownBy(() -> worker.timed().submit(worker.train("c")))
          .isInstanceOfSatisfying(
              StatusRuntimeException.class,
              e -> {
                assertThat(e.getStatus().getCode()).isEqualTo(Status.Code.RESOURCE_EXHAUSTED);
                assertThat(e.getStatus().getDescription())
                    .isEqualTo(
                        "the worker's operation queue is full: 1 runs, 1 wait; retry later or add"
                            + " workers");
              });
      go.countDown();
      assertThat(worker.last("b").getState()).isEqualTo(State.SUCCEEDED);
      worker.timed().submit(worker.train("c"));
      assertThat(worker.last("c").getState()).isEqualTo(State.SUCCEEDED);
    }
  }

  @Test
  void canceledOperationGivesItsPlaceInTheQueueBack() {
    CountDownLatch go = new CountDownLatch(1);
    ScriptedMethods methods =
        new ScriptedMethods().inOperation((request, out, progress) -> await(go));
    try (Loopback worker =
        new Loopback(folder, WorkerSettings.defaults().admitting(4, 1), methods)) {
      worker.timed().submit(worker.train("a"));
      while (methods.operations() == 0) {
        Thread.onSpinWait();
      }
      worker.timed().submit(worker.train("b"));
      worker.timed().cancel(CancelRequest.newBuilder().setId("b").build());
      worker.timed().submit(worker.train("c"));
      go.countDown();
      assertThat(worker.last("c").getState()).isEqualTo(State.SUCCEEDED);
      assertThat(worker.last("b").getState()).isEqualTo(State.CANCELLED);
    }
  }

  @Test
  void digestThatDiffersIsADataError() {
    try (Loopback worker = new Loopback(folder)) {
      OperationRequest good = worker.train("key-1");
      OperationRequest bad =
          good.toBuilder()
              .putInputs(
                  "student",
                  good.getInputsOrThrow("student").toBuilder().setSha256("a".repeat(64)).build())
              .build();
      worker.timed().submit(bad);
      Operation failed = worker.last("key-1");
      assertThat(failed.getState()).isEqualTo(State.FAILED);
      assertThat(failed.getErrorCategory()).isEqualTo("data");
      assertThat(failed.getMessage()).startsWith("input student:").contains("a".repeat(64));
      assertThat(worker.methods.operations()).isZero();
    }
  }

  @Test
  void impossibleRequestsAreRefusedAtOnce() {
    try (Loopback worker = new Loopback(folder)) {
      OperationRequest good = worker.train("key-1");
      refused(worker, good.toBuilder().setId("../up").build(), Category.USER, "id:");
      refused(worker, good.toBuilder().setStore("relative").build(), Category.USER, "store:");
      refused(worker, good.toBuilder().setStore("file:///a/../b").build(), Category.USER, "store:");
      refused(worker, good.toBuilder().setStore("tape://1/x").build(), Category.USER, "file");
      refused(worker, good.toBuilder().clearStore().build(), Category.USER, "store:");
      refused(
          worker,
          good.toBuilder().clearWork().build(),
          Category.USER,
          "work is ''; allowed: gracebeam.v1.TrainWork");
      refused(
          worker,
          good.toBuilder().setStage("answer").build(),
          Category.USER,
          "runs no stage 'answer'; allowed: average, export, prepare, train");
      refused(
          worker,
          good.toBuilder().putInputs("dateset", good.getInputsOrThrow("dataset")).build(),
          Category.USER,
          "no input 'dateset'; allowed: 'student', 'dataset', 'signals', 'state'");
      refused(
          worker,
          good.toBuilder().removeInputs("dataset").build(),
          Category.USER,
          "input 'dataset' is missing");
    }
  }

  private static void refused(
      Loopback worker, OperationRequest request, Category category, String text) {
    assertThatThrownBy(() -> worker.timed().submit(request))
        .isInstanceOfSatisfying(
            StatusRuntimeException.class,
            e -> {
              GraceException error = Statuses.fromStatus(e);
              assertThat(error.category()).isEqualTo(category);
              assertThat(error).hasMessageContaining(text);
            });
  }

  @Test
  void watchTellsProgressAtMostFourTimesASecondAndTheEnd() {
    ScriptedMethods methods =
        new ScriptedMethods()
            .inOperation(
                (request, out, progress) -> {
                  long end = System.nanoTime() + 1_100_000_000L;
                  int step = 0;
                  while (System.nanoTime() < end) {
                    progress.report(0.001 * step, "step " + step++);
                    Thread.yield();
                  }
                });
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("key-1"));
      List<Operation> seen = worker.watch("key-1");
      assertThat(seen).hasSizeBetween(3, 8);
      assertThat(seen.getLast().getState()).isEqualTo(State.SUCCEEDED);
      assertThat(seen.stream().filter(o -> o.getState() == State.SUCCEEDED)).hasSize(1);
      assertThat(seen).extracting(Operation::getWorkerSeconds).isSorted();
    }
  }

  @Test
  void unknownOperationIsNotFound() {
    try (Loopback worker = new Loopback(folder)) {
      assertThatThrownBy(
              () -> worker.timed().watch(WatchRequest.newBuilder().setId("never").build()).next())
          .isInstanceOfSatisfying(
              StatusRuntimeException.class,
              e -> assertThat(e.getStatus().getCode()).isEqualTo(Status.Code.NOT_FOUND));
    }
  }
}
