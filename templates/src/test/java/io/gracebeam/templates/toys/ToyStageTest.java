package io.gracebeam.templates.toys;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.protobuf.StringValue;
import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.pipelines.run.RunBackend;
import io.gracebeam.pipelines.run.RunPipeline;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.proto.worker.EmbeddedWorkerProvider;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.StageResult;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.testing.PAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A kind of worker stage that is added in test sources alone runs like all others. */
class ToyStageTest {
  @TempDir Path temp;

  @Test
  void aPlanWithANewKindOfStageRunsOnARealWorker() throws IOException {
    Path text = Files.createDirectories(temp.resolve("text"));
    Files.writeString(text.resolve(ToyWork.FILE), "one");
    ArtifactRef given = Artifacts.given("text", text);
    URI store = Artifacts.uri(temp.resolve("store"));
    List<List<PlannedStage>> waves =
        List.of(
            List.of(stage("toy/two", "@text", "two", 0)),
            List.of(stage("toy/three", "toy/two", "three", 1)));
    try (EmbeddedWorker worker =
        EmbeddedWorkerProvider.find().orElseThrow().start(EngineSettings.getDefaultInstance())) {
      Workers workers = Workers.of("localhost:" + worker.port());
      Pipeline pipeline = Pipeline.create(PipelineOptionsFactory.create());
      RunBackend.Outputs outputs =
          new RunPipeline(workers, Map.of("@text", given), store).expand(pipeline, waves);
      PAssert.that(outputs.results())
          .satisfies(
              results -> {
                assertThat(results)
                    .extracting(StageResult::getTaskId)
                    .containsExactlyInAnyOrder("toy/two", "toy/three");
                return null;
              });
      PAssert.that(outputs.refused())
          .satisfies(
              refused -> {
                assertThat(refused).isEmpty();
                return null;
              });
      pipeline.run().waitUntilFinish();
    }
    assertThat(texts()).containsExactlyInAnyOrder("one two", "one two three");
  }

  private List<String> texts() throws IOException {
    try (Stream<Path> files = Files.walk(temp.resolve("store/objects"))) {
      return files
          .filter(file -> file.endsWith(ToyWork.FILE))
          .map(
              file -> {
                try {
                  return Files.readString(file);
                } catch (IOException e) {
                  throw new UncheckedIOException(e);
                }
              })
          .toList();
    }
  }

  private static PlannedStage stage(String id, String input, String word, int wave) {
    return new PlannedStage(
        id, ToyRows.APPEND, Map.of("text", input), StringValue.of(word), 0, "", wave);
  }
}
