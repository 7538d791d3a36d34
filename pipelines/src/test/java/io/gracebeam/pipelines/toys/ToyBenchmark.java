package io.gracebeam.pipelines.toys;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.scoring.Benchmark;
import io.gracebeam.transforms.scoring.BenchmarkFiles;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.PromptStyle;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.Scorer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A benchmark format as a plug-in adds it: any number of images, several references, half credit
 * for one reference in an answer and full credit for two, and a figure that is a sum.
 */
public final class ToyBenchmark implements BenchmarkFormat {
  @Override
  public String name() {
    return "toy";
  }

  @Override
  public int maxNewTokens() {
    return 7;
  }

  @Override
  public Benchmark read(BenchmarkFiles files, PromptStyle style) {
    Path file = files.questions("toy.jsonl");
    ObjectMapper json = new ObjectMapper();
    List<Question> questions = new ArrayList<>();
    try {
      for (String line : Files.readAllLines(file)) {
        JsonNode row = json.readTree(line);
        String id = row.path("id").asText();
        questions.add(
            new Question(
                id,
                row.path("unit").asText(id),
                texts(row.path("images")),
                style.shortAnswer(row.path("text").asText()),
                List.of(),
                texts(row.path("references")),
                "toy"));
      }
    } catch (IOException e) {
      throw GraceException.data("%s: cannot be read: %s", file, e.getMessage()).withCause(e);
    }
    return new Benchmark(questions, Optional.of(files.imageFolder()));
  }

  private static List<String> texts(JsonNode list) {
    List<String> texts = new ArrayList<>();
    list.forEach(text -> texts.add(text.asText()));
    return texts;
  }

  @Override
  public Scorer scorer() {
    return new Scorer() {
      @Override
      public String name() {
        return "toy-halves";
      }

      @Override
      public Graded grade(Question question, String answer) {
        long found = question.references().stream().filter(answer::contains).count();
        return new Graded(answer, Math.min(1, found / 2.0));
      }

      /** A hundred points for each whole unit, beside those of its credit. */
      @Override
      public Map<String, Double> metrics(List<GradedUnit> units) {
        return Map.of(
            "points",
            units.stream().mapToDouble(u -> 100 * u.credit() + (u.credit() == 1 ? 100 : 0)).sum());
      }
    };
  }
}
