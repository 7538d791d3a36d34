package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * ScienceQA (Lu et al. 2022): a problems file (pid to question, choices, answer index, hint, image)
 * and a split file. The image of a problem is {@code SPLIT/PID/IMAGE} under the image folder, or
 * {@code IMAGE} itself where that exists. Metrics: {@code accuracy} and {@code accuracy_img}, the
 * latter over the problems that have an image.
 */
public final class ScienceQa implements Benchmark {
  /** How a letter is found in an answer. */
  public enum Extractor {
    /** As LLaVA's script: the letter alone, "B. text", or one "The answer is B." */
    LLAVA,
    /** As lmms-eval: case-insensitive equality, or a first letter followed by a period. */
    LMMS_EVAL
  }

  private static final Pattern SENTENCE = Pattern.compile("The answer is ([A-Z]).");

  private final List<Question> questions;
  private final Path imageFolder;
  private final Extractor extractor;

  private ScienceQa(List<Question> questions, Path imageFolder, Extractor extractor) {
    this.questions = List.copyOf(questions);
    this.imageFolder = imageFolder;
    this.extractor = extractor;
  }

  /** Reads split {@code split} with LLaVA's extraction. */
  public static ScienceQa read(
      Path problems, Path splits, String split, Path imageFolder, PromptStyle style) {
    return read(problems, splits, split, imageFolder, style, false, Extractor.LLAVA);
  }

  /**
   * Reads a split.
   *
   * @param imagesOnly leave out the problems without image
   */
  public static ScienceQa read(
      Path problems,
      Path splits,
      String split,
      Path imageFolder,
      PromptStyle style,
      boolean imagesOnly,
      Extractor extractor) {
    JsonNode all = JsonFiles.object(problems);
    JsonNode pids = JsonFiles.object(splits).get(split);
    if (pids == null || !pids.isArray()) {
      throw GraceException.data("%s: there is no list of problems named %s", splits, split);
    }
    List<Question> questions = new ArrayList<>();
    Set<String> seen = new HashSet<>();
    for (JsonNode node : pids) {
      String pid = node.asText();
      JsonNode row = all.get(pid);
      if (row == null) {
        throw GraceException.data("%s: problem %s of split %s is missing", problems, pid, split);
      }
      if (!seen.add(pid)) {
        throw GraceException.data("%s: problem %s is twice in split %s", splits, pid, split);
      }
      String image = JsonFiles.optional(row, "image");
      if (!image.isEmpty() || !imagesOnly) {
        questions.add(question(problems, pid, row, image, split, imageFolder, style));
      }
    }
    return new ScienceQa(questions, imageFolder, extractor);
  }

  private static Question question(
      Path file,
      String pid,
      JsonNode row,
      String image,
      String split,
      Path imageFolder,
      PromptStyle style) {
    List<String> choices = new ArrayList<>();
    JsonNode list = row.get("choices");
    if (list != null && list.isArray()) {
      list.forEach(c -> choices.add(c.asText()));
    }
    JsonNode answer = row.get("answer");
    int index = answer != null && answer.isInt() ? answer.asInt() : -1;
    if (index < 0 || index >= choices.size() || choices.size() > 26) {
      throw GraceException.data(
          "%s problem %s: answer %s is not an index into its %d choices",
          file, pid, answer, choices.size());
    }
    String hint = JsonFiles.optional(row, "hint");
    String question = JsonFiles.required(row, "question", file, "problem " + pid);
    String nested = split + "/" + pid + "/" + image;
    boolean flat =
        !image.isEmpty()
            && !Files.exists(imageFolder.resolve(nested))
            && Files.exists(imageFolder.resolve(image));
    String type = JsonFiles.optional(row, "subject");
    return new Question(
        pid,
        image.isEmpty() ? Optional.empty() : Optional.of(flat ? image : nested),
        style.letter(hint.isBlank() ? "" : "Context: " + hint, question, choices),
        choices,
        letter(index),
        type.isEmpty() ? "choice" : type);
  }

  private static String letter(int index) {
    return String.valueOf((char) ('A' + index));
  }

  @Override
  public String format() {
    return "scienceqa";
  }

  @Override
  public List<Question> questions() {
    return questions;
  }

  @Override
  public Path imageFolder() {
    return imageFolder;
  }

  /** The letter that an answer names, upper case; empty when none can be told. */
  public static Optional<String> extract(String answer, Extractor extractor) {
    String text = PythonText.strip(answer);
    char first = text.isEmpty() ? ' ' : text.charAt(0);
    if (extractor == Extractor.LMMS_EVAL) {
      if (text.length() == 1 && Character.toUpperCase(first) >= 'A' && first < 128) {
        char upper = Character.toUpperCase(first);
        return upper <= 'Z' ? Optional.of(String.valueOf(upper)) : Optional.empty();
      }
      boolean dotted = text.length() >= 2 && first >= 'A' && first <= 'Z' && text.charAt(1) == '.';
      return dotted ? Optional.of(String.valueOf(first)) : Optional.empty();
    }
    boolean option = first >= 'A' && first <= 'E';
    if (option && (text.length() == 1 || text.startsWith(". ", 1))) {
      return Optional.of(String.valueOf(first));
    }
    Matcher matcher = SENTENCE.matcher(text);
    String found = null;
    while (matcher.find()) {
      if (found != null) {
        return Optional.empty();
      }
      found = matcher.group(1);
    }
    return Optional.ofNullable(found);
  }

  @Override
  public Score score(Map<String, String> answers) {
    List<Score.Answer> scored = new ArrayList<>();
    int missing = 0;
    int unparsed = 0;
    int[] image = new int[2];
    for (Question q : questions) {
      String text = answers.get(q.id());
      Optional<String> parsed = text == null ? Optional.empty() : extract(text, extractor);
      missing += text == null ? 1 : 0;
      unparsed += text != null && parsed.isEmpty() ? 1 : 0;
      int correct = parsed.filter(q.answer()::equals).isPresent() ? 1 : 0;
      if (q.image().isPresent()) {
        image[0] += correct;
        image[1]++;
      }
      scored.add(
          new Score.Answer(q.id(), q.type(), q.image().orElse(""), parsed.orElse(""), correct));
    }
    Map<String, Double> more = new HashMap<>();
    more.put("accuracy_img", Score.ratio(image[0], image[1]));
    int extra = answers.size() - (questions.size() - missing);
    String scorer = extractor == Extractor.LLAVA ? "scienceqa-llava" : "scienceqa-lmms-eval";
    return Score.of(format(), scorer, scored, more, unparsed, missing, extra);
  }
}
