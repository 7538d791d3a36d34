package io.gracebeam.transforms.examples;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Runs the pipelines of docs/beam.md, Java and YAML, against a worker without an engine. */
class ExamplesTest {
  private static final Path DOC = Path.of("../docs/beam.md");
  private static final Path SOURCES = Path.of("src/test/java/io/gracebeam/transforms/examples");

  @TempDir Path temp;
  private InProcessWorkers workers;

  @BeforeEach
  void world() throws IOException {
    workers = InProcessWorkers.start(Faults.none().withBadIds(Set.of("2", "ex-1")));
    Files.createDirectories(temp.resolve("data/benchmark-images"));
    Files.createDirectories(temp.resolve("model"));
    Files.writeString(temp.resolve("model/config.json"), "{}");
    StringBuilder pope = new StringBuilder();
    for (int i = 1; i <= 4; i++) {
      Files.write(temp.resolve("data/benchmark-images/%d.jpg".formatted(i)), new byte[] {1});
      pope.append(
          "{\"question_id\": %d, \"image\": \"%d.jpg\", \"text\": \"Is there?\", \"label\": \"%s\"}\n"
              .formatted(i, i, i % 2 == 0 ? "no" : "yes"));
    }
    Files.writeString(temp.resolve("data/pope.json"), pope);
    Files.writeString(temp.resolve("data/train.json"), "[{}, {\"a\": [1]}, {}]");
  }

  @AfterEach
  void stop() {
    workers.close();
  }

  @Test
  void aModelIsEvaluatedInJava() throws IOException {
    for (int run = 0; run < 2; run++) {
      EvaluateModel.main(arguments("--model=" + temp.resolve("model")));
      // Answers without "no" count as yes: right for questions 1 and 3, and 2 was refused.
      assertThat(read("scores")).containsExactly("my-model 0.5");
      assertThat(read("refused"))
          .singleElement()
          .asString()
          .contains("stage=answer", "id=2", "image of 2 is not an image");
      assertThat(workers.executions()).isEqualTo(1);
    }
  }

  @Test
  void aTeachersStatisticsAreGatheredInJava() throws IOException {
    TeacherStatistics.main(arguments("--teacher=" + temp.resolve("model"), "--vocabulary=32000"));
    // Examples 0 and 2 have 1 and 3 tokens; example 1 is refused.
    assertThat(read("gate")).singleElement().asString().startsWith("4 ");
    assertThat(read("refused")).singleElement().asString().contains("id=ex-1");
  }

  @Test
  void aModelIsEvaluatedInYaml() throws IOException {
    yaml("ReadBenchmark");
    assertThat(read("scores.json"))
        .singleElement()
        .asString()
        .contains("\"model\":\"my-model\"", "\"benchmark\":\"pope\"", "\"accuracy\":0.5");
    assertThat(read("refused.json"))
        .singleElement()
        .asString()
        .contains(
            "\"failed_row\":{\"stage\":\"answer\",\"task\":\"my-model/pope/u0000\",\"id\":\"2\"}",
            "\"error_message\":\"image of 2 is not an image\"");
  }

  @Test
  void aTeachersStatisticsAreGatheredInYaml() throws IOException {
    yaml("ExtractTeacher");
    assertThat(read("gate.json"))
        .anySatisfy(line -> assertThat(line).contains("\"type\":\"all\",\"tokens\":4"));
    assertThat(read("refused.json")).singleElement().asString().contains("\"id\":\"ex-1\"");
  }

  @ParameterizedTest
  @ValueSource(strings = {"EvaluateModel", "TeacherStatistics"})
  void theDocumentShowsTheJavaThatRuns(String name) throws IOException {
    String source = Files.readString(SOURCES.resolve(name + ".java"));
    String body = source.substring(source.indexOf("  /** Runs the pipeline. */")).stripTrailing();
    assertThat(blocks("java"))
        .anySatisfy(
            block ->
                assertThat(block)
                    .isEqualTo(
                        body.substring(0, body.lastIndexOf('}')).stripTrailing().stripIndent()));
  }

  private void yaml(String type) throws IOException {
    String block =
        blocks("yaml").stream()
            .filter(text -> text.contains("type: " + type + "\n"))
            .findFirst()
            .orElseThrow();
    Pipeline pipeline = Pipeline.create(PipelineOptionsFactory.create());
    YamlPipeline.expand(
        pipeline,
        block,
        Map.of(
            "worker",
            workers.all().get(0).endpoint(),
            "store",
            temp.resolve("store").toString(),
            "model",
            temp.resolve("model").toString(),
            "dataset",
            temp.resolve("data").toString(),
            "out",
            temp.toString(),
            "jar",
            "grace-transforms.jar"));
    pipeline.run().waitUntilFinish();
  }

  private String[] arguments(String... more) {
    return Stream.concat(
            Stream.of(
                "--worker=" + workers.all().get(0).endpoint(),
                "--dataset=" + temp.resolve("data"),
                "--store=" + temp.resolve("store"),
                "--out=" + temp),
            Arrays.stream(more))
        .toArray(String[]::new);
  }

  private List<String> read(String name) throws IOException {
    return Files.readAllLines(temp.resolve(name));
  }

  private static List<String> blocks(String language) throws IOException {
    Matcher matcher =
        Pattern.compile("```" + language + "\n(.*?)```", Pattern.DOTALL)
            .matcher(Files.readString(DOC));
    return matcher.results().map(found -> found.group(1).strip()).toList();
  }
}
