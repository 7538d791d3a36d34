package io.gracebeam.transforms.scoring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** POPE's own question files, where the shared data folder has them. */
class PopeFilesTest {
  private static final int QUESTIONS = 3000;

  /** The folder shared/data beside the repository, or beside one of its parents. */
  private static Path sharedData() {
    Path at = Path.of("").toAbsolutePath();
    while (at != null && !Files.isDirectory(at.resolve("shared/data"))) {
      at = at.getParent();
    }
    return at == null ? Path.of("../shared/data") : at.resolve("shared/data");
  }

  @ParameterizedTest
  @ValueSource(strings = {"random", "popular", "adversarial"})
  void anAllYesAnswerSetScoresAsPublished(String setting) {
    Path file = sharedData().resolve("pope/coco_pope_" + setting + ".json");
    assumeTrue(Files.exists(file), "skipped: ../shared/data/pope is absent");
    BenchmarkFiles files =
        new BenchmarkFiles(
            "pope", file.toString(), file.getParent().toString(), file.getParent(), file);
    Benchmark pope = new Pope().read(files, PromptStyle.PLAIN);
    assertThat(pope.questions()).hasSize(QUESTIONS);
    assertThat(pope.questions().stream().collect(Collectors.groupingBy(Question::answer)))
        .hasEntrySatisfying("yes", yes -> assertThat(yes).hasSize(QUESTIONS / 2))
        .hasEntrySatisfying("no", no -> assertThat(no).hasSize(QUESTIONS / 2))
        .hasSize(2);
    assertThat(pope.questions().stream().map(Question::images).distinct()).hasSize(500);

    Map<String, String> yes =
        pope.questions().stream().collect(Collectors.toMap(Question::id, question -> "Yes."));
    Score score = Score.of(new Pope().scorer(), pope.questions(), yes);
    assertThat(score.units().size()).isEqualTo(QUESTIONS);
    assertThat(score.missing()).isZero();
    assertThat(score.accuracy()).isEqualTo(0.5);
    assertThat(score.metrics())
        .containsEntry("precision", 0.5)
        .containsEntry("recall", 1.0)
        .containsEntry("yes_ratio", 1.0);
    assertThat(score.metrics().get("f1")).isCloseTo(0.6667, within(5e-5));
  }
}
