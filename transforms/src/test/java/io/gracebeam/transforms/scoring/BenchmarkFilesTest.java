package io.gracebeam.transforms.scoring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.proto.error.GraceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchmarkFilesTest {
  @TempDir Path folder;

  private Path file(String name, String text) throws Exception {
    return Files.writeString(folder.resolve(name), text);
  }

  private static BenchmarkFiles files(Path file) {
    Path folder = file.getParent();
    return new BenchmarkFiles(
        "b", file.toString(), folder.toString(), folder, folder.resolve("img"));
  }

  private static Score score(
      BenchmarkFormat format, Benchmark benchmark, Map<String, String> answers) {
    return Score.of(format.scorer(), benchmark.questions(), answers);
  }

  private Benchmark pope(int rows) throws Exception {
    StringBuilder text = new StringBuilder("\uFEFF");
    for (int i = 1; i <= rows; i++) {
      text.append(
          "{\"question_id\": %d, \"image\": \"%d.jpg\", \"text\": \"Is there?\", \"label\": \"%s\"}\r\n"
              .formatted(i, i, i % 2 == 0 ? "no" : "yes"));
    }
    return new Pope().read(files(file("pope.json", text.toString())), PromptStyle.PLAIN);
  }

  @Test
  void popeMetricsByHand() throws Exception {
    // Labels yes,no,yes,no. Answers yes,yes,no,(missing): TP 1, FP 1, FN 1.
    Score score =
        score(new Pope(), pope(4), Map.of("1", "Yes", "2", "Yes.", "3", "No", "99", "yes"));
    assertThat(score.metrics())
        .containsEntry("accuracy", 0.25)
        .containsEntry("precision", 0.5)
        .containsEntry("recall", 0.5)
        .containsEntry("f1", 0.5)
        .containsEntry("yes_ratio", 0.5);
    assertThat(score.missing()).isEqualTo(1);
    assertThat(score.extra()).isEqualTo(1);
  }

  @Test
  void popeWithoutAnyYesHasZeroPrecision() throws Exception {
    Score score = score(new Pope(), pope(2), Map.of("1", "no", "2", "no"));
    assertThat(score.metrics()).containsEntry("precision", 0.0).containsEntry("f1", 0.0);
  }

  @Test
  void theOrderOfAnswersIsIrrelevant() throws Exception {
    Benchmark pope = pope(12);
    Map<String, String> forward = new LinkedHashMap<>();
    for (int i = 1; i <= 12; i++) {
      forward.put("" + i, i % 3 == 0 ? "no" : "yes");
    }
    assertThat(score(new Pope(), pope, new TreeMap<>(forward).descendingMap()))
        .isEqualTo(score(new Pope(), pope, forward));
  }

  @Test
  void badPopeRowsAreNamed() throws Exception {
    Path label =
        file("a.json", "{\"question_id\":1,\"image\":\"a\",\"text\":\"t\",\"label\":\"x\"}");
    assertThatThrownBy(() -> new Pope().read(files(label), PromptStyle.PLAIN))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("question 1: label is x; allowed is yes or no");
    String row = "{\"question_id\":1,\"image\":\"a\",\"text\":\"t\",\"label\":\"no\"}\n";
    Path twice = file("b.json", row + row);
    assertThatThrownBy(() -> new Pope().read(files(twice), PromptStyle.PLAIN))
        .hasMessageContaining("twice");
    Path broken = file("c.json", row + "{\"question_id\":");
    assertThatThrownBy(() -> new Pope().read(files(broken), PromptStyle.PLAIN))
        .hasMessageContaining("line 2");
  }

  @Test
  void scienceQaCountsImageProblems() throws Exception {
    Path problems =
        file(
            "problems.json",
            """
            {"1": {"question": "Which?", "choices": ["a", "b"], "answer": 1, "hint": "Look.",
                   "image": "image.png", "subject": "natural"},
             "2": {"question": "What?", "choices": ["a", "b", "c", "d"], "answer": 0, "hint": "",
                   "image": null, "subject": "social"}}
            """);
    file("pid_splits.json", "{\"test\": [\"2\", \"1\"], \"train\": []}");
    ScienceQa format = new ScienceQa();
    Benchmark all = format.read(files(problems), PromptStyle.LLAVA);
    assertThat(all.questions()).extracting(Question::id).containsExactly("2", "1");
    assertThat(all.questions().get(1).prompt())
        .isEqualTo(
            "Context: Look.\nWhich?\nA. a\nB. b\n"
                + "Answer with the option's letter from the given choices directly.");
    assertThat(all.questions().get(1).images()).containsExactly("test/1/image.png");
    Score score = score(format, all, Map.of("1", "B. b", "2", "E"));
    assertThat(score.metrics())
        .containsEntry("accuracy", 0.5)
        .containsEntry("accuracy_img", 1.0)
        .containsEntry("accuracy/social", 0.0);
    Path splits = folder.resolve("pid_splits.json");
    assertThat(ScienceQa.questions(problems, splits, "test", folder, PromptStyle.PLAIN, true))
        .hasSize(1);
    assertThatThrownBy(
            () -> ScienceQa.questions(problems, splits, "val", folder, PromptStyle.PLAIN, false))
        .hasMessageContaining("val");
  }

  @Test
  void mmBenchIsCircular() throws Exception {
    String image = Base64.getEncoder().encodeToString("p".repeat(90).getBytes("UTF-8"));
    StringBuilder tsv =
        new StringBuilder("index\tquestion\thint\tA\tB\tC\tanswer\tcategory\timage\r\n");
    tsv.append("7\t\"Two\nlines \"\"x\"\"\"\t\tNone\tdog\tN/A\tA\tc1\t" + image + "\r\n");
    tsv.append("1000007\tQ\t\tdog\tN/A\tNone\tC\tc1\t7\r\n");
    tsv.append("2000007\tQ\t\tN/A\tNone\tdog\tB\tc1\t7\r\n");
    tsv.append("8\tQ\t\tx\ty\t\tB\tc2\t7\r\n");
    Path file = file("m.tsv", tsv.toString());
    MmBench format = new MmBench();
    Benchmark bench = format.read(files(file), PromptStyle.PLAIN);
    assertThat(bench.questions().get(0).prompt())
        .isEqualTo("Two\nlines \"x\"\nA. None\nB. dog\nC. N/A");
    assertThat(bench.imageFolder().orElseThrow()).isDirectoryContaining("glob:**7.img");
    assertThat(Files.size(folder.resolve("img/7.img"))).isEqualTo(90);
    Map<String, String> right = Map.of("7", "A", "1000007", "C", "2000007", "B", "8", "B");
    Score score = score(format, bench, right);
    // Group 8 lacks its second rotation.
    assertThat(score.metrics())
        .containsEntry("accuracy", 0.5)
        .containsEntry("vanilla", 1.0)
        .containsEntry("incomplete_groups", 0.5);
    Map<String, String> oneWrong = Map.of("7", "A", "1000007", "C", "2000007", "A", "8", "B");
    assertThat(score(format, bench, oneWrong).accuracy()).isZero();
    Benchmark plain = MmBench.read(file, folder, PromptStyle.PLAIN, false);
    assertThat(plain.questions()).hasSize(2);
    assertThat(Score.of(MmBench.scorer(false), plain.questions(), oneWrong).accuracy())
        .isEqualTo(1.0);
  }

  @Test
  void openAnswersByExactMatch() throws Exception {
    Path file =
        file(
            "open.json",
            """
            {"question_id": 1, "image": "a.png", "text": "What?", "answer": "cat", "category": "open"}
            {"question_id": 2, "image": "a.png", "text": "How many?", "answer": "3", "category": "count"}
            """);
    OpenAnswers format = new OpenAnswers();
    Score score =
        score(format, format.read(files(file), PromptStyle.PLAIN), Map.of("1", "Cat.", "2", "13"));
    assertThat(score.metrics())
        .containsEntry("accuracy", 0.5)
        .containsEntry("accuracy/open", 1.0)
        .containsEntry("accuracy/count", 0.0);
    assertThat(score.units()).extracting(Score.Unit::credit).containsExactly(1.0, 0.0);
    assertThat(score.accuracy()).isCloseTo(0.5, within(0.0));
  }
}
