package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.auto.service.AutoService;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Format {@code scienceqa}, ScienceQA (Lu et al. 2022): a problems file (pid to question, choices,
 * answer index, hint, image) and a split file beside it ({@code pid_splits.json} beside {@code
 * problems.json}, else {@code NAME_split.json} beside {@code NAME.json}). Split {@code test} is
 * asked, its letters are found as LLaVA's script finds them. The image of a problem is {@code
 * SPLIT/PID/IMAGE} under the image folder, or {@code IMAGE} itself where that exists. Metrics:
 * {@code accuracy} and {@code accuracy_img}, the latter over the problems that have an image.
 */
@AutoService(BenchmarkFormat.class)
public final class ScienceQa implements BenchmarkFormat {
  /** How a letter is found in an answer. */
  enum Extractor {
    /** As LLaVA's script: the letter alone, "B. text", or one "The answer is B." */
    LLAVA("scienceqa-llava"),
    /** As lmms-eval: case-insensitive equality, or a first letter followed by a period. */
    LMMS_EVAL("scienceqa-lmms-eval");

    private final String rule;

    Extractor(String rule) {
      this.rule = rule;
    }
  }

  private static final Pattern SENTENCE = Pattern.compile("The answer is ([A-Z]).");

  @Override
  public String name() {
    return "scienceqa";
  }

  /** Reads the problems file, in a dataset's folder {@code scienceqa.json}. */
  @Override
  public Benchmark read(BenchmarkFiles files, PromptStyle style) {
    Path problems = files.questions("scienceqa.json");
    String name = problems.getFileName().toString();
    Path splits =
        problems.resolveSibling(
            name.equals("problems.json")
                ? "pid_splits.json"
                : name.replace(".json", "_split.json"));
    Path images = files.imageFolder();
    return new Benchmark(
        questions(problems, splits, "test", images, style, false), Optional.of(images));
  }

  /**
   * Reads a split.
   *
   * @param imagesOnly leave out the problems without image
   */
  static List<Question> questions(
      Path problems,
      Path splits,
      String split,
      Path imageFolder,
      PromptStyle style,
      boolean imagesOnly) {
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
    return questions;
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
    return Question.single(
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

  /** The letter that an answer names, upper case; empty when none can be told. */
  static Optional<String> extract(String answer, Extractor extractor) {
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
  public Scorer scorer() {
    return scorer(Extractor.LLAVA);
  }

  static Scorer scorer(Extractor extractor) {
    return new Letters(extractor);
  }

  private record Letters(Extractor extractor) implements Scorer {
    @Override
    public String name() {
      return extractor.rule;
    }

    @Override
    public Graded grade(Question question, String answer) {
      String parsed = extract(answer, extractor).orElse("");
      return Graded.of(parsed, parsed.equals(question.answer()));
    }

    @Override
    public Map<String, Double> metrics(List<GradedUnit> units) {
      List<GradedUnit> seen =
          units.stream().filter(unit -> !unit.questions().get(0).images().isEmpty()).toList();
      double credit = seen.stream().mapToDouble(GradedUnit::credit).sum();
      return Map.of("accuracy_img", Score.ratio(credit, seen.size()));
    }
  }
}
