package io.gracebeam.transforms.scoring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.Size;
import net.jqwik.api.lifecycle.BeforeProperty;

class ScoringFilesTest {
  private Path folder;

  @BeforeProperty
  void folder() throws Exception {
    folder = Files.createTempDirectory("scoring-files");
    folder.toFile().deleteOnExit();
  }

  @Property(tries = 50)
  void filesGiveQuestionsAndScoresBack(
      @ForAll String text,
      @ForAll @Size(max = 3) List<String> texts,
      @ForAll @DoubleRange(min = 0, max = 1) double credit)
      throws Exception {
    List<Question> questions =
        List.of(
            new Question("q", text, texts, text, texts, texts, "type"),
            new Question("r", "r", List.of(), "", List.of(), List.of("a"), ""));
    ScoringFiles.writeQuestions(folder, questions);
    assertThat(ScoringFiles.readQuestions(folder)).isEqualTo(questions);

    Score score =
        new Score(
            "rule",
            List.of(new Score.Unit("q", "type", text, credit)),
            new TreeMap<>(Map.of("accuracy", credit, "points", 100 * credit)),
            1,
            2,
            3);
    ScoringFiles.writeScore(folder, score);
    assertThat(ScoringFiles.readScore(folder)).isEqualTo(score);
    assertThat(ScoringFiles.readScore(folder).accuracy()).isEqualTo(credit);
  }

  @Property(tries = 1)
  void damagedFilesAreNamed() throws Exception {
    Files.writeString(folder.resolve(ScoringFiles.QUESTIONS), "{\"id\": \"q\"}\n");
    assertThatThrownBy(() -> ScoringFiles.readQuestions(folder))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContaining("questions.jsonl: line 1: cannot be read: ");
    assertThatThrownBy(() -> ScoringFiles.readScore(folder))
        .hasMessageContaining("scores.json: cannot be read: ");
  }
}
