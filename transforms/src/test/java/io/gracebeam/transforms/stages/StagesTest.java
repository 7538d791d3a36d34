package io.gracebeam.transforms.stages;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.statistics.GateSample;
import io.gracebeam.transforms.statistics.GateStatistics;
import io.gracebeam.transforms.testing.FakeWorker;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.values.PCollection;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StagesTest {
  @TempDir Path temp;

  /** A failed pipeline returns while the runner's threads still write into the folder. */
  @AfterEach
  void nothingIsLeft() throws InterruptedException {
    long end = System.nanoTime() + Duration.ofSeconds(10).toNanos();
    while ((Workers.liveChannels() > 0 || runnersThreads() > 0) && System.nanoTime() < end) {
      Thread.sleep(10);
    }
    assertThat(Workers.liveChannels()).isZero();
    assertThat(runnersThreads()).isZero();
  }

  private static long runnersThreads() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().equals("direct-runner-worker"))
        .count();
  }

  @Test
  void secondRunIsAllHitsAndChangesNoByte() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Path store = temp.resolve("store");
      PipelineResult first = Demo.run(workers.client(), store);
      SortedMap<String, String> files = Demo.published(store);
      Demo.assertCounter(first, "calls", Demo.TASKS);
      Demo.assertCounter(first, "hits", 0);
      assertThat(workers.executions()).isEqualTo(Demo.TASKS);
      assertThat(files.keySet().stream().filter(name -> name.startsWith("keys/")))
          .hasSize(Demo.TASKS);

      int calls = workers.calls();
      PipelineResult second = Demo.run(workers.client(), store);
      Demo.assertCounter(second, "hits", Demo.TASKS);
      assertThat(workers.calls()).isEqualTo(calls);
      assertThat(Demo.published(store)).isEqualTo(files);
    }
  }

  @Test
  void anyNumberOfWorkersGivesTheSameBytes() {
    SortedMap<String, String> one;
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Demo.run(workers.client(), temp.resolve("one"));
      one = Demo.published(temp.resolve("one"));
    }
    try (InProcessWorkers workers = InProcessWorkers.start(3)) {
      Demo.run(workers.client(), temp.resolve("three"));
      assertThat(workers.all().stream().filter(worker -> worker.calls() > 0).count())
          .isGreaterThan(1);
    }
    assertThat(Demo.published(temp.resolve("three"))).isEqualTo(one);
  }

  @Test
  void workersKilledInTheMiddleChangeNoByte() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Demo.run(workers.client(), temp.resolve("calm"));
    }
    Faults dying = Faults.none().withDeathInCall(2).withLatency(Duration.ofMillis(20));
    try (InProcessWorkers workers =
        InProcessWorkers.start(dying, dying, Faults.none().withBrokenStreams(2))) {
      Demo.run(workers.client(), temp.resolve("stormy"));
      assertThat(workers.all().stream().filter(worker -> !worker.alive()).count()).isPositive();
    }
    assertThat(Demo.published(temp.resolve("stormy")))
        .isEqualTo(Demo.published(temp.resolve("calm")));
  }

  @Test
  void resumesWhereAFailedRunStopped() {
    Path store = temp.resolve("store");
    try (InProcessWorkers workers = InProcessWorkers.start(Faults.none().withDeathInCall(6))) {
      assertThatThrownBy(() -> Demo.run(workers.client().withAttempts(2), store))
          .hasRootCauseInstanceOf(Exception.class);
    }
    long before =
        Demo.published(store).keySet().stream().filter(n -> n.startsWith("keys/")).count();
    assertThat(before).isBetween(3L, 11L);
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      PipelineResult result = Demo.run(workers.client(), store);
      Demo.assertCounter(result, "hits", before);
      assertThat(workers.executions()).isEqualTo(Demo.TASKS - (int) before);
    }
  }

  @Test
  void refusedExamplesAndQuestionsAreDeadLettersInEveryRun() {
    Faults picky = Faults.none().withBadIds(Set.of("ex-4", "ex-21", "q-1-3"));
    try (InProcessWorkers workers = InProcessWorkers.start(picky)) {
      for (int run = 0; run < 2; run++) {
        Pipeline pipeline = Demo.pipeline();
        StageChain chain = Demo.apply(pipeline, workers.client(), temp.resolve("store"));
        PAssert.that(chain.deadLetters("Dead"))
            .containsInAnyOrder(
                DeadLetter.of("extract", "extract/unit-0", "ex-4", "image of ex-4 is not an image"),
                DeadLetter.of(
                    "extract", "extract/unit-2", "ex-21", "image of ex-21 is not an image"),
                DeadLetter.of(
                    "answer", "answers/unit-1", "q-1-3", "image of q-1-3 is not an image"));
        PipelineResult result = pipeline.run();
        result.waitUntilFinish();
        Demo.assertCounter(result, "deadLetters", 3);
      }
    }
  }

  @Test
  void aTaskWithoutItsInputIsADeadLetterAndTheRestGoesOn() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Path store = temp.resolve("store");
      Pipeline pipeline = Demo.pipeline();
      StageChain chain = StageChain.of(pipeline, workers.client());
      chain.then("Extract", Demo.units(store).subList(0, 1));
      StageOutputs outputs =
          chain.then(
              "Train",
              List.of(
                  Demo.shard(store, 0, 0), Demo.shard(store, 0, 1).withReference("state", "gone")));
      PAssert.that(outputs.deadLetters())
          .containsInAnyOrder(
              DeadLetter.of(
                  "train",
                  "train/round-0/shard-1",
                  "train/round-0/shard-1",
                  "train/round-0/shard-1: input 'state' needs the result of gone, which has none"));
      PAssert.thatSingleton(outputs.results())
          .satisfies(
              result -> {
                assertThat(result.getTaskId()).isEqualTo("train/round-0/shard-0");
                assertThat(result.getCached()).isFalse();
                assertThat(result.getWorkerSeconds()).isEqualTo(0.25);
                assertThat(result.manifest().getArtifact().getKind()).isEqualTo("trained");
                return null;
              });
      pipeline.run().waitUntilFinish();
    }
  }

  @Test
  void answersAreSortedAndComplete() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Pipeline pipeline = Demo.pipeline();
      Path store = temp.resolve("store");
      StageTask task = Demo.questions(store, 0).withInput("model", Demo.ref("model", '5'));
      PCollection<StageResult> results =
          pipeline.apply(Create.of(task)).apply(RunStages.on(workers.client())).results();
      PAssert.thatSingleton(results)
          .satisfies(
              result -> {
                var answers = Answers.read(result.manifest().getArtifact());
                assertThat(answers)
                    .hasSize(10)
                    .isSortedAccordingTo(Comparator.comparing(a -> a.getId()));
                assertThat(answers.get(0).getText()).startsWith("answer ");
                assertThat(result.manifest().getMeasuresMap()).containsEntry("questions", 10.0);
                return null;
              });
      pipeline.run().waitUntilFinish();
    }
  }

  @Test
  void keyOfAnswersFollowsTheImagesNamesAndNotTheirFolder() {
    assertThat(keyPart("a.png"))
        .isEqualTo(keyPart("a.png"))
        .isNotEqualTo(keyPart("a.png", "a.png"))
        .isNotEqualTo(keyPart("b.png"));
  }

  private static String keyPart(String... images) {
    var question =
        io.gracebeam.proto.v1.Question.newBuilder()
            .setId("q")
            .addAllImages(List.of(images))
            .build();
    var request =
        io.gracebeam.proto.v1.GenerateRequest.newBuilder()
            .setImages(Demo.ref("images", '4'))
            .addQuestions(question)
            .build();
    String part = new AnswerCall().keyPart(request).toString();
    assertThat(part).doesNotContain("/given/images");
    return part;
  }

  @Test
  void gateStatisticsOfTheTokensEqualTheDirectOnes() throws IOException {
    try (InProcessWorkers workers = InProcessWorkers.start(2)) {
      Path store = temp.resolve("store");
      Pipeline pipeline = Demo.pipeline();
      Path dataset = Files.createDirectories(temp.resolve("data"));
      Files.writeString(
          dataset.resolve("train.json"),
          "[" + String.join(",", Collections.nCopies(30, "{}")) + "]");
      ExtractTeacher.Result extracted =
          pipeline
              .apply(Create.of(Artifact.at("dataset", dataset)))
              .apply(
                  ExtractTeacher.on(workers.client())
                      .intoStore(store.toString())
                      .withTeacher(Artifact.of(Demo.ref("model", '1')))
                      .withExamplesPerUnit(12));
      GatherGateStatistics.Result gathered =
          extracted.tokens().apply(GatherGateStatistics.ofVocabulary(50));
      GateStatistics direct = new GateStatistics();
      List<String> ids = new ArrayList<>();
      for (long i = 0; i < 30; i++) {
        for (long t = 0; t <= i % 3; t++) {
          float doubt = ((i * 7 + t * 3) % 10) / 10f;
          String type = List.of("open", "yesno", "count").get((int) (i % 3));
          direct.add(new GateSample(type, doubt, 50, 1 - doubt / 2, (i + t) % 4 != 0 ? 0 : 1));
          ids.add("ex-" + i);
        }
      }
      assertThat(direct.count()).isEqualTo(60);
      PAssert.thatSingleton(gathered.statistics()).isEqualTo(direct);
      PAssert.that(gathered.deadLetters()).empty();
      pipeline.run().waitUntilFinish();
    }
  }

  private static TokenSignal signal(float entropy) {
    return TokenSignal.newBuilder()
        .setEntropy(entropy)
        .setTargetLogProb(-1f)
        .setCorrect(true)
        .setType("open")
        .setTopProbability(0.5f)
        .build();
  }

  @Test
  void impossibleTokensAreDeadLetters() {
    Pipeline pipeline = Demo.pipeline();
    GatherGateStatistics.Result gathered =
        pipeline
            .apply(
                Create.of(
                    TokenRow.of("u", "good", 0, signal(0.5f)),
                    TokenRow.of("u", "bad", 2, signal(Float.NaN))))
            .apply(GatherGateStatistics.ofVocabulary(50));
    PAssert.thatSingleton(gathered.statistics())
        .satisfies(
            statistics -> {
              assertThat(statistics.count()).isEqualTo(1);
              return null;
            });
    PAssert.thatSingleton(gathered.deadLetters())
        .satisfies(
            letter -> {
              assertThat(letter.getId()).isEqualTo("bad");
              assertThat(letter.getReason()).startsWith("token 2: entropy is NaN");
              return null;
            });
    pipeline.run().waitUntilFinish();
  }

  @Test
  void unreachableWorkerIsOneClearLine() throws Exception {
    int port;
    try (ServerSocket socket = new ServerSocket(0)) {
      port = socket.getLocalPort();
    }
    Workers workers =
        Workers.of("127.0.0.1:" + port).withAttempts(2).withBackoff(Duration.ofMillis(5));
    GraceException failure = failureOf(workers);
    assertThat(failure.category()).isEqualTo(Category.WORKER);
    assertThat(failure.getMessage())
        .contains("no worker reachable at 127.0.0.1:" + port, "grace worker")
        .doesNotContain("\n");
  }

  @Test
  void workerOfAnotherBuildIsRefused() {
    try (FakeWorker worker = FakeWorker.start(Faults.none(), "0.0.1+other", "digest")) {
      GraceException failure = failureOf(Workers.of(worker.endpoint()));
      assertThat(failure.category()).isEqualTo(Category.WORKER);
      assertThat(failure.getMessage())
          .startsWith(
              "worker " + worker.endpoint() + " is of build 0.0.1+other, this pipeline is build ")
          .doesNotContain("\n");
      assertThat(worker.calls()).isZero();
    }
  }

  @Test
  void workOfAnotherStageIsABug() {
    assertThatThrownBy(
            () ->
                StageTask.of(
                    "odd", "train", PrepareWork.getDefaultInstance(), 0, temp.toUri().toString()))
        .hasMessage(
            "odd: the work of stage train is no gracebeam.v1.TrainWork: it is a"
                + " gracebeam.v1.PrepareWork");
  }

  @Test
  void missingRoleNamesWhatIsGiven() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      StageTask task =
          StageTask.of(
                  "x",
                  "extract",
                  ExtractRequest.newBuilder().setCount(1).build(),
                  0,
                  temp.toUri().toString())
              .withInput("teacher", Demo.ref("model", '1'));
      Pipeline pipeline = Demo.pipeline();
      pipeline.apply(Create.of(task)).apply(RunStages.on(workers.client()));
      assertThat(rootOf(pipeline))
          .hasMessage("x: stage extract: input 'dataset' is missing; given: [teacher]");
    }
  }

  private GraceException failureOf(Workers workers) {
    Pipeline pipeline = Demo.pipeline();
    pipeline.apply(Create.of(Demo.units(temp.resolve("store")))).apply(RunStages.on(workers));
    return rootOf(pipeline);
  }

  private static GraceException rootOf(Pipeline pipeline) {
    try {
      pipeline.run().waitUntilFinish();
    } catch (RuntimeException e) {
      for (Throwable cause = e; cause != null; cause = cause.getCause()) {
        if (cause instanceof GraceException grace) {
          return grace;
        }
      }
      throw e;
    }
    throw new AssertionError("the pipeline did not fail");
  }
}
