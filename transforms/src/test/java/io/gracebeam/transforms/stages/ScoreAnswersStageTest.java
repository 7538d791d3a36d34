package io.gracebeam.transforms.stages;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.ScoreWork;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.Score;
import io.gracebeam.transforms.scoring.ScoringFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ScoreAnswersStageTest {
  @TempDir Path temp;

  private Path folder(String name) throws IOException {
    return Files.createDirectories(temp.resolve(name));
  }

  private ArtifactRef unit(String name, GenerateResponse... answers) throws IOException {
    Path unit = folder(name);
    Answers.write(unit.resolve(Answers.FILE), List.of(answers));
    return Artifacts.given("answers", unit);
  }

  private static GenerateResponse answer(String id, String text) {
    return GenerateResponse.newBuilder().setId(id).setText(text).build();
  }

  private LocalStage.Job job(String format, Map<String, ArtifactRef> inputs) throws IOException {
    ScoreWork work = ScoreWork.newBuilder().setFormat(format).build();
    return new LocalStage.Job("score/x", work, new TreeMap<>(inputs), 0, folder("out"));
  }

  private ArtifactRef questions() throws IOException {
    Path questions = folder("questions");
    List<Question> asked =
        List.of("1", "2", "3", "4").stream()
            .map(id -> Question.single(id, Optional.empty(), "?", List.of(), "cat", "open"))
            .toList();
    ScoringFiles.writeQuestions(questions, asked);
    return Artifacts.given("questions", questions);
  }

  @Test
  void unitsAreScoredTogetherAndRefusedQuestionsAreMissing() throws IOException {
    ArtifactRef first = unit("a", answer("1", "Cat."), answer("2", "dog"));
    ArtifactRef second =
        unit("b", GenerateResponse.newBuilder().setId("3").setError("no image").build());
    Map<String, Double> facts =
        new ScoreAnswersStage()
            .run(
                job(
                    "open",
                    Map.of("questions", questions(), "answers-0", first, "answers-1", second)));
    Score score = ScoringFiles.readScore(temp.resolve("out"));
    assertThat(score.scorer()).isEqualTo("exact-match");
    assertThat(score.units()).extracting(Score.Unit::credit).containsExactly(1.0, 0.0, 0.0, 0.0);
    assertThat(score.missing()).isEqualTo(2);
    assertThat(facts).containsEntry("accuracy", 0.25).containsEntry("units", 4.0);
  }

  @Test
  void unknownFormatIsOneLineWithWhatThereIs() throws IOException {
    LocalStage.Job job = job("chess", Map.of("questions", questions(), "answers-0", unit("a")));
    assertThatThrownBy(() -> new ScoreAnswersStage().run(job))
        .isInstanceOf(GraceException.class)
        .hasMessage(
            "benchmark format: 'chess' is unknown; allowed: mmbench, open, pope, scienceqa");
  }
}
