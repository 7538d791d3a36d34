package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.testing.BlobFaults;
import io.gracebeam.proto.artifact.testing.HostileBlobs;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.TypeDescriptor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * One run in other places: where its artifacts lie and who executes its pipeline leave no trace in
 * its results.
 */
@Timeout(300)
class PlacesTest {
  private static final String RECIPE =
      """
      name: places
      data: {train: %1$s/data, benchmarks: [{name: pairs, format: toy, path: toy.jsonl}]}
      models: {teacher: %1$s/teacher, student: %1$s/student}
      shards: 2
      rounds: 2
      seeds: [1]
      variants: [teacher, bf16, grace-int4]
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
    Files.writeString(data.resolve("benchmark-images/one.png"), "one");
    Files.writeString(
        data.resolve("toy.jsonl"),
        """
        {"id": "one", "images": ["one.png"], "text": "What?", "references": ["answer", "x", "y"]}
        {"id": "none", "images": [], "text": "Why?", "references": ["x", "y", "z"]}
        {"id": "gone", "images": ["two.png"], "text": "What?", "references": ["x", "y", "z"]}
        """);
  }

  private ObjectNode run(String name, Optional<URI> store, String backend) {
    Recipe recipe = RecipeReader.resolve(RecipeReader.parse(RECIPE.formatted(temp), "places.yaml"));
    try (RunFolder folder = RunFolder.open(temp.resolve(name), store);
        InProcessWorkers fakes = InProcessWorkers.start(Faults.none());
        WorkerSet workers =
            WorkerSet.open(
                List.of(fakes.all().get(0).endpoint()), EngineSettings.getDefaultInstance())) {
      return new Run(folder, recipe, Optional.empty(), Optional.empty())
          .execute(
              workers,
              RunBackend.named(backend),
              PipelineOptionsFactory.create(),
              new Progress(new PrintStream(PrintStream.nullOutputStream()), false, true));
    }
  }

  private static SortedMap<String, String> digests(ObjectNode report) {
    SortedMap<String, String> digests = new TreeMap<>();
    for (JsonNode artifact : report.path("artifacts")) {
      digests.put(artifact.path("name").asText(), artifact.path("sha256").asText());
    }
    return digests;
  }

  @Test
  void aStoreOfBlobsWithFaultsHoldsTheSameArtifacts() {
    ObjectNode files = run("files", Optional.empty(), "direct");
    HostileBlobs blobs = HostileBlobs.create(BlobFaults.all(11));
    ObjectNode hostile = run("hostile", Optional.of(blobs.root()), "direct");
    assertThat(digests(hostile)).isEqualTo(digests(files)).hasSizeGreaterThan(10);
    for (String part : List.of("rows", "table", "ledger", "gate", "sizes")) {
      assertThat(hostile.path(part)).as(part).isEqualTo(files.path(part));
    }
    assertThat(temp.resolve("hostile/store")).doesNotExist();
    assertThat(blobs.names().stream().filter(name -> name.startsWith("keys/")))
        .hasSize(digests(hostile).size())
        .allSatisfy(
            name ->
                assertThat(new String(blobs.content(name), StandardCharsets.UTF_8))
                    .doesNotContain("uri")
                    .doesNotContain(temp.toString()));
    ObjectNode again = run("hostile", Optional.of(blobs.root()), "direct");
    assertThat(again.path("artifacts")).allMatch(artifact -> artifact.path("cached").asBoolean());
    ArtifactStore store = ArtifactStore.open(blobs.root());
    for (JsonNode artifact : again.path("artifacts")) {
      store.verify(store.find(artifact.path("stageKey").asText()).orElseThrow());
    }
  }

  @Test
  void anotherBackendBringsTheSameResults() {
    int before = MemoryBackend.SUBMITTED.get();
    ObjectNode memory = run("memory", Optional.empty(), "memory");
    assertThat(MemoryBackend.SUBMITTED).hasValue(before + 1);
    assertThat(temp.resolve("memory/results")).isEmptyDirectory();
    ObjectNode direct = run("direct", Optional.empty(), "direct");
    assertThat(digests(memory)).isEqualTo(digests(direct));
    assertThat(memory.path("rows")).isEqualTo(direct.path("rows"));
    assertThat(memory.path("ledger")).isEqualTo(direct.path("ledger")).isNotEmpty();
  }

  @Test
  void unknownBackendsAreNamedWithThoseThatThereAre() {
    assertThatThrownBy(() -> RunBackend.named("moon"))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessage("run backend: 'moon' is unknown; allowed: direct, memory");
  }

  /** Gives one result, and never ends by itself. */
  private static final class Endless extends DoFn<String, StageResult> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(OutputReceiver<StageResult> out) throws InterruptedException {
      Thread.sleep(Duration.ofMinutes(10).toMillis());
      out.output(StageResult.of("late", "train", new byte[0], false, 0, 0, 0));
    }
  }

  private static RunBackend.Outputs stages(Pipeline pipeline) {
    return new RunBackend.Outputs(
        pipeline
            .apply(Create.of("go"))
            .apply(ParDo.of(new Endless()))
            .setTypeDescriptor(TypeDescriptor.of(StageResult.class)),
        pipeline.apply(Create.empty(TypeDescriptor.of(DeadLetter.class))));
  }

  @ParameterizedTest
  @ValueSource(strings = {"direct", "memory"})
  void aCanceledRunEndsSoonAndSaysSo(String backend) throws IOException {
    SubmittedRun run =
        RunBackend.named(backend)
            .submit(
                new RunBackend.Job(
                    PlacesTest::stages,
                    PipelineOptionsFactory.create(),
                    Files.createDirectories(temp.resolve("results"))));
    assertThat(run.progress().ended()).isEmpty();
    run.cancel();
    assertThatThrownBy(run::results)
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining("canceled");
    run.cancel();
  }
}
