package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Questions with a short answer, scored by exact match: JSON lines with {@code question_id, image,
 * text, answer} and an optional {@code category}. Before comparing, both sides are stripped,
 * lower-cased, white space is collapsed and final periods are dropped.
 */
public final class OpenAnswers implements Benchmark {
  private final List<Question> questions;
  private final Path imageFolder;

  private OpenAnswers(List<Question> questions, Path imageFolder) {
    this.questions = List.copyOf(questions);
    this.imageFolder = imageFolder;
  }

  /** Reads the question file. */
  public static OpenAnswers read(Path file, Path imageFolder, PromptStyle style) {
    List<Question> questions = new ArrayList<>();
    Set<String> ids = new HashSet<>();
    for (JsonNode row : JsonFiles.lines(file)) {
      String id = JsonFiles.required(row, "question_id", file, "row " + (ids.size() + 1));
      if (!ids.add(id)) {
        throw GraceException.data("%s: question_id %s is there twice", file, id);
      }
      String category = JsonFiles.optional(row, "category");
      String image = JsonFiles.optional(row, "image");
      questions.add(
          new Question(
              id,
              image.isEmpty() ? Optional.empty() : Optional.of(image),
              style.shortAnswer(JsonFiles.required(row, "text", file, "question " + id)),
              List.of(),
              JsonFiles.required(row, "answer", file, "question " + id),
              category.isEmpty() ? "open" : category));
    }
    return new OpenAnswers(questions, imageFolder);
  }

  @Override
  public String format() {
    return "open";
  }

  @Override
  public List<Question> questions() {
    return questions;
  }

  @Override
  public Path imageFolder() {
    return imageFolder;
  }

  /** The form in which two answers are compared. */
  public static String normal(String answer) {
    String text = String.join(" ", PythonText.split(answer.toLowerCase(Locale.ROOT)));
    while (text.endsWith(".")) {
      text = PythonText.strip(text.substring(0, text.length() - 1));
    }
    return text;
  }

  @Override
  public Score score(Map<String, String> answers) {
    List<Score.Answer> scored = new ArrayList<>();
    int missing = 0;
    int unparsed = 0;
    for (Question q : questions) {
      String text = answers.get(q.id());
      String parsed = text == null ? "" : normal(text);
      missing += text == null ? 1 : 0;
      unparsed += text != null && parsed.isEmpty() ? 1 : 0;
      int correct = text != null && parsed.equals(normal(q.answer())) ? 1 : 0;
      scored.add(new Score.Answer(q.id(), q.type(), q.image().orElse(""), parsed, correct));
    }
    int extra = answers.size() - (questions.size() - missing);
    return Score.of(format(), "exact-match", scored, Map.of(), unparsed, missing, extra);
  }
}
