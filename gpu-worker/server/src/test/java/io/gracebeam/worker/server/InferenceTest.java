package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.common.collect.ImmutableList;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.Statuses;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.HandshakeRequest;
import io.gracebeam.proto.v1.HandshakeResponse;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.worker.server.testing.ScriptedMethods;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class InferenceTest {
  @TempDir Path folder;

  private static GenerateRequest.Builder ask(Loopback worker, Question... questions) {
    return GenerateRequest.newBuilder()
        .setId("unit")
        .setModel(worker.input("model"))
        .setMaxNewTokens(8)
        .setBatch(3)
        .addAllQuestions(List.of(questions));
  }

  private static Question question(String id, String... images) {
    return Question.newBuilder()
        .setId(id)
        .setPrompt("what is " + id)
        .addAllImages(List.of(images))
        .build();
  }

  private static ArtifactRef images(Path fileOrFolder) {
    return Artifacts.given("images", fileOrFolder);
  }

  private static List<GenerateResponse> all(Loopback worker, GenerateRequest request) {
    return ImmutableList.copyOf(worker.timed().generate(request));
  }

  @Test
  void handshakeSaysWhoTheWorkerIs() {
    try (Loopback worker = new Loopback(folder)) {
      HandshakeResponse answer =
          worker.timed().handshake(HandshakeRequest.newBuilder().setBuild("other").build());
      assertThat(answer.getBuild()).isEqualTo(Builds.current());
      assertThat(answer.getEngine()).isEqualTo("scripted");
      assertThat(answer.getEngineDigest()).isEqualTo("0".repeat(64));
      assertThat(answer.getCapabilitiesList()).contains("train", "extract", "answer");
    }
  }

  @Test
  void badItemCostsNoOther() throws IOException {
    Path images = Files.createDirectories(folder.resolve("images/deep"));
    Path image = Files.writeString(images.resolve("a.png"), "pixels");
    Files.writeString(folder.resolve("secret.png"), "pixels");
    Path outside = Files.createDirectories(folder.resolve("outside"));
    Files.writeString(outside.resolve("secret.png"), "pixels");
    Files.createSymbolicLink(folder.resolve("images/out"), outside);
    Files.createSymbolicLink(folder.resolve("images/linked.png"), folder.resolve("secret.png"));
    try (Loopback worker = new Loopback(folder)) {
      List<GenerateResponse> answers =
          all(
              worker,
              ask(
                      worker,
                      question("two", "deep/a.png", "linked.png"),
                      question("missing", "deep/b.png"),
                      question("up", "../secret.png"),
                      question("absolute", image.toString()),
                      question("link", "out/secret.png"),
                      Question.newBuilder().setId("bad").setPrompt("refuse").build(),
                      question("none"))
                  .setImages(images(folder.resolve("images")))
                  .build());
      assertThat(answers)
          .extracting(GenerateResponse::getId)
          .containsExactly("two", "missing", "up", "absolute", "link", "bad", "none");
      assertThat(answers)
          .extracting(GenerateResponse::getText)
          .containsExactly("WHAT IS TWO", "", "", "", "", "", "WHAT IS NONE");
      assertThat(answers.get(1).getError()).contains("deep/b.png").contains("does not exist");
      assertThat(answers.subList(2, 5))
          .allMatch(answer -> answer.getError().contains("must be a path inside"));
      assertThat(answers.get(5).getError()).contains("cannot be answered");
    }
  }

  @Test
  void imagesMayBeOneFileAndMustCome() throws IOException {
    Path image = Files.writeString(folder.resolve("a.png"), "pixels");
    Files.writeString(folder.resolve("b.png"), "pixels");
    try (Loopback worker = new Loopback(folder)) {
      GenerateRequest.Builder request =
          ask(worker, question("own", "a.png"), question("beside", "b.png"));
      assertThat(all(worker, request.clone().setImages(images(image)).build()))
          .extracting(GenerateResponse::getText)
          .containsExactly("WHAT IS OWN", "");
      assertThat(all(worker, request.build()))
          .allMatch(answer -> answer.getError().contains("the request has none"));
      Files.writeString(image, "other pixels");
      GenerateRequest changed =
          request.setImages(images(image).toBuilder().setSha256("0".repeat(64))).build();
      assertThatThrownBy(() -> all(worker, changed)).hasMessageContaining("images:");
    }
  }

  @Test
  void modelWhoseDigestDiffersIsADataError() throws IOException {
    try (Loopback worker = new Loopback(folder)) {
      GenerateRequest request = ask(worker, question("a")).build();
      assertThat(all(worker, request)).hasSize(1);
      Files.writeString(folder.resolve("model").resolve("content.txt"), "changed since");
      assertThatThrownBy(() -> all(worker, request))
          .isInstanceOfSatisfying(
              StatusRuntimeException.class,
              e -> {
                assertThat(Statuses.fromStatus(e).category()).isEqualTo(Category.DATA);
                assertThat(e).hasMessageContaining("model:").hasMessageContaining("sha256");
              });
    }
  }

  @Test
  void loadedModelsAreReusedEvictedAndClosed() {
    ScriptedMethods methods = new ScriptedMethods();
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults().holding(1), methods)) {
      GenerateRequest first = ask(worker, question("a")).build();
      all(worker, first);
      all(worker, first);
      assertThat(methods.loaded()).isEqualTo(1);
      HealthGrpc.HealthBlockingStub health = HealthGrpc.newBlockingStub(worker.channel);
      HealthCheckRequest entry =
          HealthCheckRequest.newBuilder().setService(first.getModel().getSha256()).build();
      assertThat(health.check(entry).getStatus()).isEqualTo(ServingStatus.SERVING);
      assertThat(health.check(HealthCheckRequest.getDefaultInstance()).getStatus())
          .isEqualTo(ServingStatus.SERVING);
      all(worker, first.toBuilder().setModel(worker.input("another")).build());
      all(worker, first.toBuilder().setModel(worker.input("third")).build());
      assertThat(methods.loaded()).isEqualTo(3);
      assertThat(methods.unloaded()).isGreaterThanOrEqualTo(1);
      assertThatThrownBy(() -> health.check(entry)).hasMessageContaining("NOT_FOUND");
    }
    assertThat(methods.unloaded()).isEqualTo(methods.loaded());
    assertThat(methods.closed()).isTrue();
  }

  @Test
  void extractStreamsEverySignalThenTheArtifactAndAnswersARepeatFromIt() {
    try (Loopback worker = new Loopback(folder)) {
      ExtractRequest request =
          ExtractRequest.newBuilder()
              .setId("unit-1")
              .setTeacher(worker.input("teacher"))
              .setDataset(worker.input("dataset"))
              .setFirst(10)
              .setCount(5)
              .setStore(Artifacts.uri(worker.store()).toString())
              .build();
      List<ExtractResponse> first = ImmutableList.copyOf(worker.timed().extract(request));
      assertThat(first).hasSize(6);
      assertThat(first.get(3).getExample().getError()).contains("truncated");
      assertThat(first.get(4).getExample().getId()).isEqualTo("example-14");
      assertThat(first.getLast().getArtifact().getArtifact().getKind())
          .isEqualTo("teacher-signals");
      assertThat(first.getLast().getArtifact().getMeasuresMap()).containsKey("bytesPerToken");
      List<ExtractResponse> second = ImmutableList.copyOf(worker.timed().extract(request));
      assertThat(second).isEqualTo(first);
      assertThat(worker.methods.extractions()).isEqualTo(1);
      assertThat(worker.leftovers()).isEmpty();
    }
  }

  @Test
  void fullQueueShedsLoad() throws InterruptedException {
    CountDownLatch begun = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    ScriptedMethods methods =
        new ScriptedMethods()
            .inAnswer(
                () -> {
                  begun.countDown();
                  try {
                    go.await();
                  } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                  }
                });
    try (Loopback worker =
        new Loopback(folder, WorkerSettings.defaults().admitting(1, 1), methods)) {
      GenerateRequest request = ask(worker, question("a")).build();
      CountDownLatch done = new CountDownLatch(2);
      WorkerGrpc.WorkerStub async = WorkerGrpc.newStub(worker.channel);
      async.generate(request, counting(done));
      begun.await();
      async.generate(request, counting(done));
      StatusRuntimeException refused = null;
      // The second call may still be on its way; from its arrival on, a further one is refused.
      for (int i = 0; i < 100 && refused == null; i++) {
        try {
          worker.stub.withDeadlineAfter(100, TimeUnit.MILLISECONDS).generate(request).next();
        } catch (StatusRuntimeException e) {
          if (e.getStatus().getCode() == Status.Code.RESOURCE_EXHAUSTED) {
            refused = e;
          }
        }
      }
      assertThat(refused).isNotNull();
      assertThat(refused.getStatus().getDescription())
          .isEqualTo("the worker's queue is full: 1 calls run, 1 wait; retry later or add workers");
      go.countDown();
      assertThat(done.await(20, TimeUnit.SECONDS)).isTrue();
    }
  }

  private static <T> StreamObserver<T> counting(CountDownLatch done) {
    return new StreamObserver<>() {
      @Override
      public void onNext(T value) {}

      @Override
      public void onError(Throwable error) {
        done.countDown();
      }

      @Override
      public void onCompleted() {
        done.countDown();
      }
    };
  }

  @Test
  void clientThatDoesNotReadIsGivenUpAndOthersGoOn() throws InterruptedException {
    ScriptedMethods methods = new ScriptedMethods();
    try (Loopback worker =
        new Loopback(
            folder,
            WorkerSettings.defaults().waiting(Duration.ofMillis(300), Duration.ofSeconds(5)),
            methods)) {
      Question big = Question.newBuilder().setId("big").setPrompt("x".repeat(60_000)).build();
      GenerateRequest.Builder flood = ask(worker);
      for (int i = 0; i < 100; i++) {
        flood.addQuestions(big);
      }
      var lazy = worker.timed().generate(flood.setBatch(1).build());
      assertThat(lazy.next().getId()).isEqualTo("big");
      // It reads no more; the only inference thread must become free again.
      assertThat(all(worker, ask(worker, question("a")).build())).hasSize(1);
      assertThatThrownBy(() -> lazy.forEachRemaining(answer -> {}))
          .isInstanceOfSatisfying(
              StatusRuntimeException.class,
              e -> assertThat(e.getStatus().getCode()).isEqualTo(Status.Code.CANCELLED));
    }
  }

  @Test
  void messageOverTheLimitIsRefusedAndTheWorkerLives() {
    try (Loopback worker = new Loopback(folder)) {
      Question huge = Question.newBuilder().setPrompt("x".repeat(9 << 20)).build();
      assertThatThrownBy(() -> all(worker, ask(worker, huge).build()))
          .isInstanceOfSatisfying(
              StatusRuntimeException.class,
              e -> assertThat(e.getStatus().getCode()).isEqualTo(Status.Code.RESOURCE_EXHAUSTED));
      assertThat(all(worker, ask(worker, question("a")).build())).hasSize(1);
    }
  }
}
