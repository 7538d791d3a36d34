package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Benchmark;
import io.gracebeam.proto.v1.Evaluation;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.Score;
import io.gracebeam.transforms.scoring.Scorer;
import io.gracebeam.transforms.scoring.ScoringFiles;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class QuestionnaireTest {
  private static final Benchmark MMBENCH =
      Benchmark.newBuilder().setName("mm").setFormat("mmbench").build();

  @TempDir Path folder;

  /** Three questions of two, two and three options, rotations behind all unrotated rows. */
  @BeforeEach
  void write() throws Exception {
    String image =
        Base64.getEncoder().encodeToString("p".repeat(90).getBytes(StandardCharsets.UTF_8));
    Files.writeString(
        folder.resolve("mmbench.tsv"),
        String.join(
            "\n",
            "index\tquestion\tA\tB\tC\tanswer\timage",
            "1\tQ\tx\ty\t\tA\t" + image,
            "2\tQ\tx\ty\t\tB\t1",
            "3\tQ\tx\ty\tz\tC\t1",
            "1000001\tQ\ty\tx\t\tB\t1",
            "1000002\tQ\ty\tx\t\tA\t1",
            "1000003\tQ\ty\tz\tx\tB\t1",
            "2000003\tQ\tz\tx\ty\tA\t1",
            ""));
  }

  private List<String> asked(int limit) {
    return open(limit).asked().questions().stream().map(Question::getId).toList();
  }

  private Questionnaire open(int limit) {
    return Questionnaire.open(MMBENCH, most(limit), folder, folder.resolve("scratch"));
  }

  private static Evaluation most(int questions) {
    return Evaluation.newBuilder().setMaxQuestions(questions).build();
  }

  @Test
  void limitKeepsRotationsTogether() {
    assertThat(asked(4)).containsExactly("1", "2", "1000001", "1000002");
    assertThat(asked(3)).containsExactly("1", "1000001");
    assertThat(asked(6)).containsExactly("1", "2", "1000001", "1000002");
    assertThat(asked(7)).hasSize(7);
    assertThat(asked(0)).hasSize(7);
  }

  @Test
  void oneGroupIsAskedHoweverSmallTheLimit() {
    assertThat(asked(1)).containsExactly("1", "1000001");
  }

  @Test
  void onlyAskedGroupsAreScored() {
    Map<String, String> answers = Map.of("1", "A", "1000001", "B", "2", "B", "1000002", "B");
    ArtifactRef four = open(4).write(folder.resolve("four"));
    assertThat(four.getKind()).isEqualTo("questions");
    assertThat(score(folder.resolve("four"), answers).units())
        .extracting(Score.Unit::id, Score.Unit::credit)
        .containsExactly(tuple("1", 1.0), tuple("2", 0.0));
    assertThat(open(0).write(folder.resolve("all")).getSha256()).isNotEqualTo(four.getSha256());
    assertThat(score(folder.resolve("all"), answers).units())
        .extracting(Score.Unit::id)
        .containsExactly("1", "2", "3");
    assertThat(open(4).write(folder.resolve("again")).getSha256()).isEqualTo(four.getSha256());
  }

  private static Score score(Path questions, Map<String, String> answers) {
    Scorer scorer = BenchmarkFormat.all().get("mmbench").scorer();
    return Score.of(scorer, ScoringFiles.readQuestions(questions), answers);
  }

  @Test
  void otherFormatsAreCutAtTheLimit() throws Exception {
    Files.createDirectories(folder.resolve("benchmark-images"));
    StringBuilder lines = new StringBuilder();
    for (int i = 1; i <= 3; i++) {
      lines.append(
          "{\"question_id\": %d, \"image\": \"a.png\", \"text\": \"What?\", \"answer\": \"cat\", \"category\": \"open\"}\n"
              .formatted(i));
    }
    Files.writeString(folder.resolve("open.json"), lines);
    Benchmark open = Benchmark.newBuilder().setName("open").setFormat("open").build();
    Questionnaire questionnaire =
        Questionnaire.open(open, most(2), folder, folder.resolve("scratch"));
    assertThat(questionnaire.asked().questions())
        .extracting(Question::getId)
        .containsExactly("1", "2");
  }

  @Test
  void answersAreAsLongAsTheEntryTheRecipeOrTheFormatSays() {
    Evaluation recipe = Evaluation.newBuilder().setMaxNewTokens(9).build();
    Benchmark own = MMBENCH.toBuilder().setMaxNewTokens(5).build();
    Path scratch = folder.resolve("scratch");
    assertThat(Questionnaire.open(own, recipe, folder, scratch).maxNewTokens()).isEqualTo(5);
    assertThat(Questionnaire.open(MMBENCH, recipe, folder, scratch).maxNewTokens()).isEqualTo(9);
    assertThat(open(0).maxNewTokens()).isEqualTo(32);
  }

  @Test
  void unknownFormatIsRefusedWithWhatThereIs() {
    Benchmark chess = MMBENCH.toBuilder().setFormat("chess").build();
    assertThatThrownBy(() -> Questionnaire.open(chess, most(0), folder, folder))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining(
            "mm.format: 'chess' is not allowed; allowed: mmbench, open, pope, scienceqa, toy");
  }
}
