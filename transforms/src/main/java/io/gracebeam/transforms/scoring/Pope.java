package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.auto.service.AutoService;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * Format {@code pope}, POPE (Li et al. 2023): JSON lines with {@code question_id, image, text,
 * label}. An answer counts as "no" when its first sentence, split at single blanks, has one of the
 * words No, no, not; as "yes" otherwise. Answers are joined by id. Zero denominators give 0. A
 * question without an answer is wrong: it lowers accuracy, and recall where the label is yes.
 */
@AutoService(BenchmarkFormat.class)
public final class Pope implements BenchmarkFormat {
  @Override
  public String name() {
    return "pope";
  }

  /**
   * Reads the question file, in a dataset's folder {@code pope.json}; an optional key {@code
   * category} becomes the question type.
   */
  @Override
  public Benchmark read(BenchmarkFiles files, PromptStyle style) {
    Path file = files.questions("pope.json");
    List<Question> questions = new ArrayList<>();
    Set<String> ids = new HashSet<>();
    for (JsonNode row : JsonFiles.lines(file)) {
      String id = JsonFiles.required(row, "question_id", file, "row " + (ids.size() + 1));
      String label = JsonFiles.required(row, "label", file, "question " + id);
      if (!label.equals("yes") && !label.equals("no")) {
        throw GraceException.data(
            "%s question %s: label is %s; allowed is yes or no", file, id, label);
      }
      if (!ids.add(id)) {
        throw GraceException.data("%s: question_id %s is there twice", file, id);
      }
      String category = JsonFiles.optional(row, "category");
      questions.add(
          Question.single(
              id,
              Optional.of(JsonFiles.required(row, "image", file, "question " + id)),
              style.shortAnswer(JsonFiles.required(row, "text", file, "question " + id)),
              List.of(),
              label,
              category.isEmpty() ? "yesno" : category));
    }
    return new Benchmark(questions, Optional.of(files.imageFolder()));
  }

  @Override
  public Scorer scorer() {
    return new Official();
  }

  /** The official reading of an answer: "yes" or "no", never anything else. */
  static String parse(String answer) {
    int dot = answer.indexOf('.');
    String first = (dot < 0 ? answer : answer.substring(0, dot)).replace(",", "");
    for (String word : first.split(" ", -1)) {
      if (word.equals("No") || word.equals("no") || word.equals("not")) {
        return "no";
      }
    }
    return "yes";
  }

  private static final class Official implements Scorer {
    @Override
    public String name() {
      return "pope-official";
    }

    @Override
    public Graded grade(Question question, String answer) {
      String parsed = parse(answer);
      return Graded.of(parsed, parsed.equals(question.answer()));
    }

    /** Precision, recall, f1 (positive is yes) and yes_ratio (answered yes / all). */
    @Override
    public Map<String, Double> metrics(List<GradedUnit> units) {
      int truePositive = 0;
      int falsePositive = 0;
      int falseNegative = 0;
      for (GradedUnit unit : units) {
        boolean correct = unit.credit() == 1;
        boolean yes = unit.graded().get(0).parsed().equals("yes");
        truePositive += yes && correct ? 1 : 0;
        falsePositive += yes && !correct ? 1 : 0;
        falseNegative += !correct && unit.questions().get(0).answer().equals("yes") ? 1 : 0;
      }
      double precision = Score.ratio(truePositive, truePositive + falsePositive);
      double recall = Score.ratio(truePositive, truePositive + falseNegative);
      Map<String, Double> metrics = new TreeMap<>();
      metrics.put("precision", precision);
      metrics.put("recall", recall);
      metrics.put("f1", Score.ratio(2 * precision * recall, precision + recall));
      metrics.put("yes_ratio", Score.ratio(truePositive + falsePositive, units.size()));
      return metrics;
    }
  }
}
