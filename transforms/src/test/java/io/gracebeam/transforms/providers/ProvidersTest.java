package io.gracebeam.transforms.providers;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.transforms.stages.StageTask;
import io.gracebeam.transforms.stages.TokenRow;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.testing.TestPipeline;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.apache.beam.sdk.values.Row;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProvidersTest {
  private static final String PREFIX = "beam:schematransform:io.gracebeam:";

  @TempDir Path temp;

  private static SchemaTransformProvider provider(String name) {
    for (SchemaTransformProvider provider : ServiceLoader.load(SchemaTransformProvider.class)) {
      if (provider.identifier().equals(PREFIX + name + ":v1")) {
        return provider;
      }
    }
    throw new AssertionError("no provider " + name);
  }

  @Test
  void everyStageHasOne() {
    List<String> found = new ArrayList<>();
    for (SchemaTransformProvider provider : ServiceLoader.load(SchemaTransformProvider.class)) {
      if (provider.identifier().startsWith(PREFIX)) {
        found.add(provider.identifier().substring(PREFIX.length()));
        assertThat(provider.outputCollectionNames()).containsExactly("output", "errors");
      }
    }
    assertThat(found)
        .containsExactlyInAnyOrder(
            "run_stages:v1", "gather_gate_statistics:v1", "evaluate_benchmarks:v1");
  }

  @Test
  void extractionRunsOnRows() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      ArtifactRef given = ArtifactRef.newBuilder().setSha256("a".repeat(64)).build();
      StageTask task =
          StageTask.of(
                  "unit",
                  "extract",
                  ExtractRequest.newBuilder().setCount(4).build(),
                  0,
                  temp.toUri().toString())
              .withInput("teacher", given)
              .withInput("dataset", given);
      SchemaTransformProvider provider = provider("run_stages");
      Row configuration =
          Row.withSchema(provider.configurationSchema())
              .withFieldValue("workers", List.of(workers.all().get(0).endpoint()))
              .withFieldValue("max_in_flight", 2)
              .build();
      Pipeline pipeline = TestPipeline.create().enableAbandonedNodeEnforcement(false);
      PCollectionRowTuple outputs =
          PCollectionRowTuple.of("input", pipeline.apply(Create.of(task)).apply(Convert.toRows()))
              .apply(provider.from(configuration));
      PAssert.thatSingleton(outputs.get("output"))
          .satisfies(
              row -> {
                assertThat(row.getString("taskId")).isEqualTo("unit");
                assertThat(row.getBoolean("cached")).isFalse();
                return null;
              });
      PAssert.that(outputs.get("errors")).empty();
      pipeline.run().waitUntilFinish();
      assertThat(workers.executions()).isEqualTo(1);
    }
  }

  @Test
  void statisticsRunOnRows() {
    SchemaTransformProvider provider = provider("gather_gate_statistics");
    Row configuration =
        Row.withSchema(provider.configurationSchema()).withFieldValue("vocabulary", 10).build();
    TokenSignal signal =
        TokenSignal.newBuilder()
            .setEntropy(0.5f)
            .setTargetLogProb(-1f)
            .setCorrect(true)
            .setType("open")
            .setTopProbability(0.5f)
            .build();
    Pipeline pipeline = TestPipeline.create().enableAbandonedNodeEnforcement(false);
    PCollectionRowTuple outputs =
        PCollectionRowTuple.of(
                "input",
                pipeline.apply(Create.of(TokenRow.of("u", "e", 0, signal))).apply(Convert.toRows()))
            .apply(provider.from(configuration));
    PAssert.thatSingleton(outputs.get("output"))
        .satisfies(
            row -> {
              assertThat(row.getInt64("count")).isEqualTo(1);
              return null;
            });
    pipeline.run().waitUntilFinish();
  }

  @Test
  void evaluationRunsOnTheRowsOfAnswers() throws Exception {
    Files.writeString(
        temp.resolve("pope.json"),
        "{\"question_id\": 1, \"image\": \"1.jpg\", \"text\": \"Is there?\", \"label\":"
            + " \"yes\"}\n");
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      GenerateRequest request =
          GenerateRequest.newBuilder()
              .setMaxNewTokens(4)
              .setBatch(1)
              .addQuestions(Question.newBuilder().setId("1").setPrompt("Is there?"))
              .build();
      StageTask task =
          StageTask.of("m/pope/u0", "answer", request, 0, temp.resolve("store").toUri().toString())
              .withInput("model", ArtifactRef.newBuilder().setSha256("a".repeat(64)).build());
      SchemaTransformProvider answer = provider("run_stages");
      SchemaTransformProvider evaluate = provider("evaluate_benchmarks");
      Pipeline pipeline = TestPipeline.create().enableAbandonedNodeEnforcement(false);
      PCollectionRowTuple answers =
          PCollectionRowTuple.of("input", pipeline.apply(Create.of(task)).apply(Convert.toRows()))
              .apply(
                  "Answer",
                  answer.from(
                      Row.withSchema(answer.configurationSchema())
                          .withFieldValue("workers", List.of(workers.all().get(0).endpoint()))
                          .withFieldValue("max_in_flight", 2)
                          .build()));
      PCollectionRowTuple scores =
          PCollectionRowTuple.of("input", answers.get("output"))
              .apply(
                  "Evaluate",
                  evaluate.from(
                      Row.withSchema(evaluate.configurationSchema())
                          .withFieldValue("dataset", temp.toString())
                          .withFieldValue("scratch", temp.resolve("scratch").toString())
                          .withFieldValue("benchmarks", Map.of("pope", "pope"))
                          .build()));
      PAssert.thatSingleton(scores.get("output"))
          .satisfies(
              row -> {
                assertThat(row.getString("model")).isEqualTo("m");
                assertThat(row.getString("benchmark")).isEqualTo("pope");
                assertThat(row.<String, Double>getMap("metrics")).containsEntry("accuracy", 1.0);
                return null;
              });
      PAssert.that(scores.get("errors")).empty();
      pipeline.run().waitUntilFinish();
    }
  }
}
