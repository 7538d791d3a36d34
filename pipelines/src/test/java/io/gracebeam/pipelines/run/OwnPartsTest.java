package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A run of what a recipe and a plug-in bring themselves: variants under names of their own, and a
 * benchmark of the format {@code toy}, which only tests have.
 */
class OwnPartsTest {
  private static final String RECIPE =
      """
      name: own
      data: {train: %1$s/data, benchmarks: [{name: pairs, format: toy, path: toy.jsonl}]}
      models: {teacher: %1$s/teacher, student: %1$s/student}
      seeds: [3]
      variants:
      - {name: big, source: teacher}
      - {name: start, source: baseline}
      - {name: small-cache, preset: grace-int4, kv_bits: 8}
      - {name: mine, preset: grace-int4}
      - {name: twin, preset: grace-int4}
      - {name: three, source: train, quantized: true, bits: 3, distillation: dkd, gate: true, fixed_beta: 0.25}
      """;

  @TempDir Path temp;

  @BeforeEach
  void files() throws IOException {
    Path data = temp.resolve("data");
    for (String folder : List.of("data/benchmark-images", "teacher", "student")) {
      Files.createDirectories(temp.resolve(folder));
    }
    Files.writeString(data.resolve("train.json"), "[{\"id\": \"a\"}, {\"id\": \"b\"}]");
    Files.writeString(
        temp.resolve("teacher/config.json"), "{\"text_config\": {\"vocab_size\": 50}}");
    Files.writeString(temp.resolve("student/config.json"), "{}");
    for (String image : List.of("left.png", "right.png")) {
      Files.writeString(data.resolve("benchmark-images").resolve(image), image);
    }
    // Fake workers answer "answer" and eight hexadecimal digits.
    Files.writeString(
        data.resolve("toy.jsonl"),
        """
        {"id": "two", "images": ["left.png", "right.png"], "text": "Alike?", "references": ["answer", "x", "y"]}
        {"id": "none", "images": [], "text": "Why?", "references": ["x", "y", "z"]}
        {"id": "p1", "unit": "pair", "images": ["left.png"], "text": "What?", "references": ["ans", "wer", "x"]}
        {"id": "p2", "unit": "pair", "images": ["right.png"], "text": "What?", "references": ["ans", "x", "y"]}
        {"id": "gone", "images": ["other.png"], "text": "What?", "references": ["ans", "wer", "x"]}
        """);
  }

  private ObjectNode run(RunFolder folder, Run run, Faults faults) {
    try (InProcessWorkers fakes = InProcessWorkers.start(faults);
        WorkerSet workers =
            WorkerSet.open(
                List.of(fakes.all().get(0).endpoint()), EngineSettings.getDefaultInstance())) {
      return run.execute(
          workers,
          RunBackend.named("direct"),
          PipelineOptionsFactory.create(),
          new Progress(new PrintStream(PrintStream.nullOutputStream()), false, true));
    }
  }

  @Test
  void runsFromFilesToTheReport() throws IOException {
    Recipe recipe = RecipeReader.resolve(RecipeReader.parse(RECIPE.formatted(temp), "own.yaml"));
    ObjectNode report;
    try (RunFolder folder = RunFolder.open(temp.resolve("run"))) {
      Run run = new Run(folder, recipe, Optional.empty(), Optional.empty());
      assertThat(run.plan().stages())
          .extracting(PlannedStage::id)
          .contains("train/small-cache/s3/r0/k0", "export/small-cache/s3", "export/mine/s3")
          .contains("train/three/s3/r0/k0", "export/three/s3", "answer/three/s3/pairs/u000")
          .doesNotContain("train/mine/s3/r0/k0");
      assertThat(run.plan().stages())
          .filteredOn(stage -> stage.work() instanceof GenerateRequest)
          .hasSize(6)
          .allSatisfy(
              stage -> assertThat(((GenerateRequest) stage.work()).getMaxNewTokens()).isEqualTo(7));
      report = run(folder, run, Faults.none());
    }
    assertThat(report.path("ledger"))
        .extracting(row -> row.path("task").asText(), row -> row.path("id").asText())
        .hasSize(6)
        .contains(tuple("answer/mine/s3/pairs/u000", "gone"));

    JsonNode row = find(report.path("rows"), "mine");
    assertThat(row.path("bits").asInt()).isEqualTo(4);
    assertThat(row.path("seed").asInt()).isEqualTo(3);
    // two: 0.5, none: 0, pair: mean of 1 and 0.5, gone: no answer.
    assertThat(row.path("n").asInt()).isEqualTo(4);
    assertThat(row.path("correct").asInt()).isZero();
    assertThat(row.path("credit").asDouble()).isEqualTo(1.25);
    assertThat(row.path("metrics").path("accuracy").asDouble()).isEqualTo(0.3125);
    assertThat(row.path("metrics").path("points").asDouble()).isEqualTo(125);

    // Only the names of the two differ, so their artifacts are the same.
    assertThat(keys(report, "mine")).hasSize(3).isEqualTo(keys(report, "twin"));

    JsonNode small = find(report.path("table"), "small-cache");
    assertThat(report.path("baseline").asText()).isEqualTo("start");
    assertThat(small.path("accuracy").asDouble()).isEqualTo(0.3125);
    assertThat(small.path("difference").asDouble()).isZero();
    assertThat(small.path("sibling").asText()).isEqualTo("mine");
    assertThat(small.path("grace").asBoolean()).isTrue();
    assertThat(find(report.path("table"), "three").path("grace").asBoolean()).isFalse();
    assertThat(find(report.path("table"), "start").has("difference")).isFalse();
    assertThat(find(report.path("table"), "big").path("source").asText()).isEqualTo("teacher");

    assertThat(RecipeReader.parse(report.path("recipe").asText(), "report")).isEqualTo(recipe);
    String page = Files.readString(temp.resolve("run/report.html"));
    assertThat(page)
        .contains("Other figures of pairs", "<th>points</th>", "<td>125.0000</td>")
        .contains("<th>vs. start</th>", "<b>small-cache</b> answers <b>31.3 %</b>");
  }

  @Test
  void aRefusedQuestionHasNoCredit() throws IOException {
    String one = RECIPE.substring(0, RECIPE.indexOf("variants:")) + "variants: [bf16]\n";
    Recipe recipe = RecipeReader.resolve(RecipeReader.parse(one.formatted(temp), "own.yaml"));
    try (RunFolder folder = RunFolder.open(temp.resolve("run"))) {
      Run run = new Run(folder, recipe, Optional.empty(), Optional.empty());
      ObjectNode report = run(folder, run, Faults.none().withBadIds(Set.of("p1")));
      JsonNode row = find(report.path("rows"), "bf16");
      assertThat(row.path("credit").asDouble()).isEqualTo(0.75);
    }
  }

  /** Stage keys of what is made for a variant alone. */
  private static List<String> keys(JsonNode report, String variant) {
    List<String> keys = new ArrayList<>();
    for (JsonNode artifact : report.path("artifacts")) {
      if (artifact.path("name").asText().contains("/" + variant + "/")) {
        keys.add(artifact.path("stageKey").asText());
      }
    }
    return keys;
  }

  private static JsonNode find(JsonNode rows, String variant) {
    for (JsonNode row : rows) {
      if (row.path("variant").asText().equals(variant)) {
        return row;
      }
    }
    throw new AssertionError("there is no row of " + variant);
  }
}
