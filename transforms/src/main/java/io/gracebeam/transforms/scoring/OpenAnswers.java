package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.auto.service.AutoService;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;

/**
 * Format {@code open}: questions with a short answer, scored by exact match. JSON lines with {@code
 * question_id, image, text, answer} and an optional {@code category}. Before comparing, both sides
 * are stripped, lower-cased, white space is collapsed and final periods are dropped.
 */
@AutoService(BenchmarkFormat.class)
public final class OpenAnswers implements BenchmarkFormat {
  @Override
  public String name() {
    return "open";
  }

  /** Reads the question file, in a dataset's folder {@code open.json}. */
  @Override
  public Benchmark read(BenchmarkFiles files, PromptStyle style) {
    Path file = files.questions("open.json");
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
          Question.single(
              id,
              image.isEmpty() ? Optional.empty() : Optional.of(image),
              style.shortAnswer(JsonFiles.required(row, "text", file, "question " + id)),
              List.of(),
              JsonFiles.required(row, "answer", file, "question " + id),
              category.isEmpty() ? "open" : category));
    }
    return new Benchmark(questions, Optional.of(files.imageFolder()));
  }

  @Override
  public Scorer scorer() {
    return new Scorer() {
      @Override
      public String name() {
        return "exact-match";
      }

      @Override
      public Graded grade(Question question, String answer) {
        String parsed = normal(answer);
        return Graded.of(parsed, parsed.equals(normal(question.answer())));
      }
    };
  }

  /** The form in which two answers are compared. */
  static String normal(String answer) {
    String text = String.join(" ", PythonText.split(answer.toLowerCase(Locale.ROOT)));
    while (text.endsWith(".")) {
      text = PythonText.strip(text.substring(0, text.length() - 1));
    }
    return text;
  }
}
