package io.gracebeam.transforms.stages;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.values.PCollection;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EvaluateBenchmarksTest {
  @TempDir Path temp;

  @BeforeEach
  void questions() throws Exception {
    StringBuilder pope = new StringBuilder();
    StringBuilder open = new StringBuilder();
    for (int i = 1; i <= 4; i++) {
      pope.append(
          "{\"question_id\": %d, \"image\": \"%d.jpg\", \"text\": \"Is there?\", \"label\": \"%s\"}\n"
              .formatted(i, i, i % 2 == 0 ? "no" : "yes"));
      open.append(
          "{\"question_id\": \"o%d\", \"image\": \"%d.jpg\", \"text\": \"What?\", \"answer\": \"cat\"}\n"
              .formatted(i, i));
    }
    Files.writeString(temp.resolve("pope.json"), pope);
    Files.writeString(temp.resolve("open.json"), open);
  }

  private EvaluateBenchmarks evaluate() {
    return EvaluateBenchmarks.of(
        temp, temp.resolve("scratch"), Map.of("pope", "pope", "short", "open"));
  }

  private static AnswerRow row(String task, String id, String text) {
    return AnswerRow.of(task, id, text, "");
  }

  @Test
  void unitsOfAModelAndBenchmarkAreScoredTogether() {
    List<AnswerRow> rows = new ArrayList<>();
    rows.add(row("answer/bf16/s0/pope/u000", "1", "Yes"));
    rows.add(row("answer/bf16/s0/pope/u000", "2", "Yes"));
    rows.add(row("answer/bf16/s0/pope/u001", "3", "No"));
    rows.add(row("answer/rtn/s0/pope/u000", "1", "yes"));
    rows.add(row("answer/bf16/s0/short/u000", "o2", "Cat."));
    rows.add(row("answer/bf16/s0/short/u000", "o1", "dog"));
    Pipeline pipeline = Demo.pipeline();
    EvaluateBenchmarks.Result result =
        pipeline.apply(Create.of(rows)).apply("Evaluate", evaluate());
    PAssert.that(result.scores())
        .containsInAnyOrder(
            // Labels yes, no, yes, no; question 4 has no answer.
            BenchmarkScore.of(
                "answer/bf16/s0",
                "pope",
                "pope-official",
                Map.of(
                    "accuracy", 0.25, "precision", 0.5, "recall", 0.5, "f1", 0.5, "yes_ratio", 0.5),
                4,
                0,
                1),
            BenchmarkScore.of(
                "answer/rtn/s0",
                "pope",
                "pope-official",
                Map.of(
                    "accuracy",
                    0.25,
                    "precision",
                    1.0,
                    "recall",
                    0.5,
                    "f1",
                    2 / 3.0,
                    "yes_ratio",
                    0.25),
                4,
                0,
                3),
            BenchmarkScore.of(
                "answer/bf16/s0", "short", "exact-match", Map.of("accuracy", 0.25), 4, 0, 2));
    PAssert.that(result.deadLetters()).empty();
    pipeline.run().waitUntilFinish();
  }

  @Test
  void whatCannotBeScoredIsADeadLetter() {
    String task = "m/short/u0";
    Pipeline pipeline = Demo.pipeline();
    EvaluateBenchmarks.Result result =
        pipeline
            .apply(
                Create.of(
                    row("nothing", "1", "yes"),
                    row("m/chess/u0", "1", "yes"),
                    row(task, "o9", "cat"),
                    AnswerRow.of(task, "o1", "", "3.png is no image"),
                    row(task, "o2", "cat"),
                    row("m/short/u1", "o2", "cat"),
                    row(task, "o3", "cat"),
                    row("m/short/u1", "o3", "dog")))
            .apply("Evaluate", evaluate());
    PAssert.that(result.deadLetters())
        .containsInAnyOrder(
            DeadLetter.of(
                "evaluate",
                "nothing",
                "1",
                "the task's id is not of the form MODEL/BENCHMARK/UNIT"),
            DeadLetter.of("evaluate", "m/chess/u0", "1", "unknown benchmark chess in id"),
            DeadLetter.of("evaluate", task, "o9", "benchmark short has no question o9"),
            DeadLetter.of("evaluate", task, "o1", "3.png is no image"),
            DeadLetter.of("evaluate", "m/short", "o3", "question o3 has two different answers"));
    PAssert.that(result.scores())
        .containsInAnyOrder(
            BenchmarkScore.of("m", "short", "exact-match", Map.of("accuracy", 0.25), 4, 0, 3));
    pipeline.run().waitUntilFinish();
  }

  @Test
  void readsTheAnswersOfAskedUnits() {
    Faults picky = Faults.none().withBadIds(Set.of("3"));
    try (InProcessWorkers workers = InProcessWorkers.start(picky)) {
      GenerateRequest.Builder request = GenerateRequest.newBuilder().setMaxNewTokens(8).setBatch(2);
      for (int i = 1; i <= 4; i++) {
        request.addQuestions(Question.newBuilder().setId("" + i).setPrompt("Is there?"));
      }
      StageTask task =
          StageTask.of(
                  "teacher/pope/u0",
                  "answer",
                  request.build(),
                  0,
                  temp.resolve("store").toUri().toString())
              .withInput("model", Demo.ref("model", '5'));
      Pipeline pipeline = Demo.pipeline();
      PCollection<StageResult> answered =
          pipeline.apply(Create.of(task)).apply(RunStages.on(workers.client())).results();
      EvaluateBenchmarks.Result result =
          answered.apply("Read", AnswerQuestions.readAnswers()).apply("Evaluate", evaluate());
      PAssert.thatSingleton(result.scores())
          .satisfies(
              score -> {
                // The fake answers "answer ...", which POPE reads as yes.
                assertThat(score.getModel()).isEqualTo("teacher");
                assertThat(score.getMissing()).isEqualTo(1);
                assertThat(score.getMetrics()).containsEntry("yes_ratio", 0.75);
                return null;
              });
      PAssert.that(result.deadLetters())
          .containsInAnyOrder(
              DeadLetter.of("evaluate", "teacher/pope/u0", "3", "image of 3 is not an image"));
      pipeline.run().waitUntilFinish();
    }
  }

  @Test
  void noBenchmarkIsRefused() {
    assertThatThrownBy(() -> EvaluateBenchmarks.of(temp, temp, Map.of()))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER));
  }
}
