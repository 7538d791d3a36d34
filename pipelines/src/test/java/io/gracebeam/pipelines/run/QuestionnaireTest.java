package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import io.gracebeam.proto.v1.Benchmark;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.transforms.scoring.Score;
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
    return open(limit).asked().stream().map(Question::getId).toList();
  }

  private Questionnaire open(int limit) {
    return Questionnaire.open(MMBENCH, folder, folder.resolve("scratch"), limit);
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
    assertThat(open(4).score(answers))
        .extracting(Score.Answer::id, Score.Answer::correct)
        .containsExactly(tuple("1", 1), tuple("2", 0));
    assertThat(open(0).score(answers)).extracting(Score.Answer::id).containsExactly("1", "2", "3");
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
    Questionnaire questionnaire = Questionnaire.open(open, folder, folder.resolve("scratch"), 2);
    assertThat(questionnaire.asked()).extracting(Question::getId).containsExactly("1", "2");
    assertThat(questionnaire.score(Map.of("1", "cat"))).hasSize(2);
  }
}
