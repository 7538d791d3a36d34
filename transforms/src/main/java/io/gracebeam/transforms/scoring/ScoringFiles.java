package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * What a scoring stage reads and writes: the questions that were asked, with their references, one
 * JSON object per line, and a {@link Score} as JSON. Equal values give equal bytes.
 */
public final class ScoringFiles {
  /** Name of the questions' file. */
  public static final String QUESTIONS = "questions.jsonl";

  /** Name of the score's file. */
  public static final String SCORES = "scores.json";

  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS)
          .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
          .setSerializationInclusion(JsonInclude.Include.ALWAYS);

  private ScoringFiles() {}

  /** Writes questions, in their order, as {@value #QUESTIONS} into a folder. */
  public static void writeQuestions(Path folder, List<Question> questions) throws IOException {
    StringBuilder lines = new StringBuilder();
    for (Question question : questions) {
      lines.append(JSON.writeValueAsString(question)).append('\n');
    }
    Files.writeString(folder.resolve(QUESTIONS), lines);
  }

  /**
   * Reads the questions of a folder.
   *
   * @throws GraceException (data) where the file is missing or damaged
   */
  public static List<Question> readQuestions(Path folder) {
    Path file = folder.resolve(QUESTIONS);
    List<Question> questions = new ArrayList<>();
    try {
      for (String line : Files.readAllLines(file, StandardCharsets.UTF_8)) {
        questions.add(JSON.readValue(line, Question.class));
      }
    } catch (IOException e) {
      throw damaged(file, "line " + (questions.size() + 1) + ": ", e);
    }
    return questions;
  }

  /** Writes a score as {@value #SCORES} into a folder. */
  public static void writeScore(Path folder, Score score) throws IOException {
    Files.writeString(
        folder.resolve(SCORES),
        JSON.writerWithDefaultPrettyPrinter().writeValueAsString(score) + "\n");
  }

  /**
   * Reads the score of a folder.
   *
   * @throws GraceException (data) where the file is missing or damaged
   */
  public static Score readScore(Path folder) {
    Path file = folder.resolve(SCORES);
    try {
      return JSON.readValue(file.toFile(), Score.class);
    } catch (IOException e) {
      throw damaged(file, "", e);
    }
  }

  private static GraceException damaged(Path file, String where, IOException e) {
    String reason =
        e instanceof JsonProcessingException json
            ? json.getOriginalMessage()
            : e.getClass().getSimpleName();
    return GraceException.data("%s: %scannot be read: %s", file, where, reason).withCause(e);
  }
}
