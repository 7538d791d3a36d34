package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.databind.JsonNode;
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
 * POPE (Li et al. 2023): JSON lines with {@code question_id, image, text, label}. An answer counts
 * as "no" when its first sentence, split at single blanks, has one of the words No, no, not; as
 * "yes" otherwise. Answers are joined by id. Zero denominators give 0. A question without an answer
 * is wrong: it lowers accuracy, and recall where the label is yes.
 */
public final class Pope implements Benchmark {
  private final List<Question> questions;
  private final Path imageFolder;

  private Pope(List<Question> questions, Path imageFolder) {
    this.questions = List.copyOf(questions);
    this.imageFolder = imageFolder;
  }

  /** Reads the question file; an optional key {@code category} becomes the question type. */
  public static Pope read(Path file, Path imageFolder, PromptStyle style) {
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
          new Question(
              id,
              Optional.of(JsonFiles.required(row, "image", file, "question " + id)),
              style.shortAnswer(JsonFiles.required(row, "text", file, "question " + id)),
              List.of(),
              label,
              category.isEmpty() ? "yesno" : category));
    }
    return new Pope(questions, imageFolder);
  }

  @Override
  public String format() {
    return "pope";
  }

  @Override
  public List<Question> questions() {
    return questions;
  }

  @Override
  public Path imageFolder() {
    return imageFolder;
  }

  /** The official reading of an answer: "yes" or "no", never anything else. */
  public static String parse(String answer) {
    int dot = answer.indexOf('.');
    String first = (dot < 0 ? answer : answer.substring(0, dot)).replace(",", "");
    for (String word : first.split(" ", -1)) {
      if (word.equals("No") || word.equals("no") || word.equals("not")) {
        return "no";
      }
    }
    return "yes";
  }

  /** Metrics: accuracy, precision, recall, f1 (positive is yes), yes_ratio (answered yes / all). */
  @Override
  public Score score(Map<String, String> answers) {
    List<Score.Answer> scored = new ArrayList<>();
    int truePositive = 0;
    int falsePositive = 0;
    int falseNegative = 0;
    int missing = 0;
    for (Question q : questions) {
      String text = answers.get(q.id());
      String parsed = text == null ? "" : parse(text);
      missing += text == null ? 1 : 0;
      boolean correct = parsed.equals(q.answer());
      boolean yes = parsed.equals("yes");
      truePositive += yes && correct ? 1 : 0;
      falsePositive += yes && !correct ? 1 : 0;
      falseNegative += !correct && q.answer().equals("yes") ? 1 : 0;
      scored.add(new Score.Answer(q.id(), q.type(), q.image().orElse(""), parsed, correct ? 1 : 0));
    }
    double precision = Score.ratio(truePositive, truePositive + falsePositive);
    double recall = Score.ratio(truePositive, truePositive + falseNegative);
    Map<String, Double> more = new TreeMap<>();
    more.put("precision", precision);
    more.put("recall", recall);
    more.put("f1", Score.ratio(2 * precision * recall, precision + recall));
    more.put("yes_ratio", Score.ratio(truePositive + falsePositive, questions.size()));
    int extra = answers.size() - (questions.size() - missing);
    return Score.of(format(), "pope-official", scored, more, 0, missing, extra);
  }
}
