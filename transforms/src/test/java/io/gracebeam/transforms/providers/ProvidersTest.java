package io.gracebeam.transforms.providers;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.transforms.stages.TokenRow;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.Set;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.testing.TestPipeline;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.apache.beam.sdk.values.Row;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProvidersTest {
  private static final String PREFIX = "beam:schematransform:io.gracebeam:";
  private static final Schema URI = Schema.builder().addStringField("uri").build();
  private static final Schema QUESTION =
      Schema.builder().addStringField("id").addStringField("prompt").build();

  @TempDir Path temp;

  private static SchemaTransformProvider provider(String name) {
    for (SchemaTransformProvider provider : ServiceLoader.load(SchemaTransformProvider.class)) {
      if (provider.identifier().equals(PREFIX + name + ":v1")) {
        return provider;
      }
    }
    throw new AssertionError("no provider " + name);
  }

  private static Row configure(SchemaTransformProvider provider, Map<String, ?> values) {
    Row.FieldValueBuilder row =
        Row.withSchema(provider.configurationSchema()).withFieldValues(Map.of());
    for (String field : provider.configurationSchema().getFieldNames()) {
      row = row.withFieldValue(field, values.get(field));
    }
    return row.build();
  }

  private static PCollectionRowTuple apply(
      PCollectionRowTuple inputs, String name, Map<String, ?> values) {
    SchemaTransformProvider provider = provider(name);
    return inputs.apply(name, provider.from(configure(provider, values)));
  }

  private static Pipeline pipeline() {
    return TestPipeline.create().enableAbandonedNodeEnforcement(false);
  }

  private PCollection<Row> uri(Pipeline pipeline, String name, Path path) {
    return pipeline.apply(
        name, Create.of(Row.withSchema(URI).addValues(path.toString()).build()).withRowSchema(URI));
  }

  private Path model() throws IOException {
    Path model = Files.createDirectories(temp.resolve("model"));
    Files.writeString(model.resolve("config.json"), "{\"vocab_size\": 10}");
    return model;
  }

  @Test
  void everyTransformHasOneWithPlainFields() {
    List<String> found = new ArrayList<>();
    for (SchemaTransformProvider provider : ServiceLoader.load(SchemaTransformProvider.class)) {
      if (provider.identifier().startsWith(PREFIX)) {
        found.add(provider.identifier().substring(PREFIX.length()));
        assertThat(provider.configurationSchema().getFields())
            .as(provider.identifier())
            .noneMatch(field -> field.getType().getTypeName() == Schema.TypeName.BYTES);
      }
    }
    assertThat(found)
        .containsExactlyInAnyOrder(
            "read_benchmark:v1",
            "answer_questions:v1",
            "score_answers:v1",
            "extract_teacher:v1",
            "gather_gate_statistics:v1",
            "join_signals:v1",
            "train_students:v1",
            "export_models:v1");
  }

  @Test
  void aStudentIsTrainedAndExportedOnATeachersSignals() throws Exception {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Path dataset = Files.createDirectories(temp.resolve("data"));
      Files.writeString(dataset.resolve("train.json"), "[{}, {}, {}, {}, {}]");
      Path recipe = temp.resolve("recipe.yaml");
      Files.writeString(
          recipe,
          """
          name: tiny
          data: {train: %s}
          models: {teacher: %s, student: %s}
          variants: [grace-int4]
          """
              .formatted(dataset, model(), model()));
      Map<String, ?> common =
          Map.of(
              "workers",
              List.of(workers.all().get(0).endpoint()),
              "store",
              temp.resolve("store").toString(),
              "teacher",
              model().toString(),
              "recipe",
              recipe.toString(),
              "variant",
              "grace-int4",
              "dataset",
              dataset.toString(),
              "examples_per_unit",
              2);
      Pipeline pipeline = pipeline();
      PCollectionRowTuple extracted =
          apply(
              PCollectionRowTuple.of("input", uri(pipeline, "Dataset", dataset)),
              "extract_teacher",
              common);
      PCollectionRowTuple joined =
          apply(PCollectionRowTuple.of("input", extracted.get("units")), "join_signals", common);
      PCollectionRowTuple trained =
          apply(
              PCollectionRowTuple.of("input", uri(pipeline, "Student", model()))
                  .and("signals", joined.get("output")),
              "train_students",
              common);
      PCollectionRowTuple exported =
          apply(PCollectionRowTuple.of("input", trained.get("output")), "export_models", common);
      PAssert.thatSingleton(exported.get("output"))
          .satisfies(
              row -> {
                assertThat(row.getString("kind")).isEqualTo("model");
                assertThat(row.getString("sha256")).hasSize(64);
                return null;
              });
      pipeline.run().waitUntilFinish();
      // Three units, training and export; joining needs no worker.
      assertThat(workers.executions()).isEqualTo(5);
      try (var keys = Files.list(temp.resolve("store/keys"))) {
        assertThat(keys).hasSize(6);
      }
    }
  }

  @Test
  void withoutErrorHandlingARefusedElementFailsThePipeline() throws Exception {
    try (InProcessWorkers workers =
        InProcessWorkers.start(Faults.none().withBadIds(Set.of("q1")))) {
      Pipeline pipeline = pipeline();
      PCollection<Row> questions =
          pipeline.apply(
              Create.of(
                      Row.withSchema(QUESTION).addValues("q1", "Is there?").build(),
                      Row.withSchema(QUESTION).addValues("q2", "Is there?").build())
                  .withRowSchema(QUESTION));
      apply(
          PCollectionRowTuple.of("input", questions).and("model", uri(pipeline, "Model", model())),
          "answer_questions",
          Map.of(
              "workers",
              List.of(workers.all().get(0).endpoint()),
              "store",
              temp.resolve("store").toString()));
      assertThatThrownBy(() -> pipeline.run().waitUntilFinish())
          .hasMessageContaining("questions/u0000: q1: image of q1 is not an image");
    }
  }

  @Test
  void aModelIsGivenOnce() {
    Pipeline pipeline = pipeline();
    PCollection<Row> questions = pipeline.apply(Create.empty(QUESTION)).setRowSchema(QUESTION);
    Map<String, ?> config = Map.of("workers", List.of("localhost:1"), "store", "store");
    assertThatThrownBy(
            () -> apply(PCollectionRowTuple.of("input", questions), "answer_questions", config))
        .hasMessageContaining("model: is missing; allowed: either the configuration's 'model'");
  }

  @Test
  void statisticsArePlainFields() {
    TokenSignal signal =
        TokenSignal.newBuilder()
            .setEntropy(0.5f)
            .setTargetLogProb(-1f)
            .setCorrect(true)
            .setType("open")
            .setTopProbability(0.5f)
            .build();
    Pipeline pipeline = pipeline();
    PCollectionRowTuple outputs =
        apply(
            PCollectionRowTuple.of(
                "input",
                pipeline
                    .apply(Create.of(TokenRow.of("u", "e", 0, signal)))
                    .apply(Convert.toRows())),
            "gather_gate_statistics",
            Map.of("vocabulary", 10));
    PAssert.that(outputs.get("output"))
        .satisfies(
            rows -> {
              assertThat(rows)
                  .extracting(row -> row.getString("type"))
                  .containsExactlyInAnyOrder("all", "open");
              assertThat(rows).allMatch(row -> row.getInt64("tokens") == 1);
              return null;
            });
    pipeline.run().waitUntilFinish();
  }
}
