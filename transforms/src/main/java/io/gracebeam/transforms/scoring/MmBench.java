package io.gracebeam.transforms.scoring;

import com.google.auto.service.AutoService;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Format {@code mmbench}, MMBench (Liu et al. 2023): tab-separated rows with the image in base64. A
 * short image cell names the row whose image is used. A question's rotations have index base + k
 * 1,000,000; in circular scoring they are one unit, which counts only if all rotations are answered
 * rightly. Letters are found by rules alone, no judge model and no random choice.
 */
@AutoService(BenchmarkFormat.class)
public final class MmBench implements BenchmarkFormat {
  private static final long ROTATION = 1_000_000;
  private static final int SHORT_CELL = 64;
  private static final List<String> REFUSALS =
      List.of(
          "Sorry, I can't help with images of people yet.",
          "I can't process this file.",
          "I'm sorry, but without the image provided",
          "Cannot determine the answer");
  private static final Pattern BOLD =
      Pattern.compile("(?:correct )?answer is \\*\\*([ABCD])\\*\\*", Pattern.CASE_INSENSITIVE);

  private record Row(Question question, boolean base, String image) {}

  @Override
  public String name() {
    return "mmbench";
  }

  /**
   * Reads the question file, in a dataset's folder {@code mmbench.tsv}, and writes its images to
   * the scratch folder.
   */
  @Override
  public Benchmark read(BenchmarkFiles files, PromptStyle style) {
    return read(files.questions("mmbench.tsv"), files.scratch(), style, true);
  }

  @Override
  public Scorer scorer() {
    return scorer(true);
  }

  static Scorer scorer(boolean circular) {
    return new Letters(circular);
  }

  /**
   * Reads a file.
   *
   * @param imageFolder where the images are written, named after their row
   * @param circular ask all rotations; otherwise only the unrotated rows
   */
  static Benchmark read(Path file, Path imageFolder, PromptStyle style, boolean circular) {
    List<Map<String, String>> table = Tsv.read(file);
    Map<String, String> raw = new HashMap<>();
    for (Map<String, String> row : table) {
      for (String column : List.of("index", "question", "answer", "image", "A", "B")) {
        if (!row.containsKey(column)) {
          throw GraceException.data("%s: column %s is missing", file, column);
        }
      }
      if (raw.put(row.get("index"), row.get("image")) != null) {
        throw GraceException.data("%s: index %s is there twice", file, row.get("index"));
      }
    }
    List<Row> rows = new ArrayList<>();
    Map<String, String> images = new TreeMap<>();
    for (Map<String, String> row : table) {
      Row read = row(file, row, raw, style);
      if (circular || read.base()) {
        rows.add(read);
        images.put(read.image(), raw.get(read.image()));
      }
    }
    writeImages(images, imageFolder);
    return new Benchmark(rows.stream().map(Row::question).toList(), Optional.of(imageFolder));
  }

  private static Row row(
      Path file, Map<String, String> row, Map<String, String> raw, PromptStyle style) {
    String id = row.get("index");
    long index;
    try {
      index = Long.parseLong(id);
    } catch (NumberFormatException e) {
      throw GraceException.data("%s: index %s is not a whole number", file, id);
    }
    List<String> choices = new ArrayList<>();
    for (char c = 'A'; c <= 'Z' && !row.getOrDefault("" + c, "").isEmpty(); c++) {
      choices.add(row.get("" + c));
    }
    String answer = row.get("answer");
    if (answer.length() != 1
        || answer.charAt(0) < 'A'
        || answer.charAt(0) - 'A' >= choices.size()) {
      throw GraceException.data(
          "%s index %s: answer is %s; allowed is one of its %d letters",
          file, id, answer, choices.size());
    }
    String image = id;
    Set<String> seen = new HashSet<>();
    while (raw.containsKey(image) && raw.get(image).length() <= SHORT_CELL) {
      if (!seen.add(image)) {
        throw GraceException.data("%s index %s: its image refers to itself", file, id);
      }
      image = PythonText.strip(raw.get(image));
    }
    if (!raw.containsKey(image)) {
      throw GraceException.data(
          "%s index %s: its image is in row %s, which is missing", file, id, image);
    }
    String group = row.getOrDefault("g_index", "");
    String category = row.getOrDefault("category", "");
    Question question =
        new Question(
            id,
            group.isEmpty() ? Long.toString(index % ROTATION) : group,
            List.of(image + ".img"),
            style.letter(row.getOrDefault("hint", ""), row.get("question"), choices),
            choices,
            List.of(answer),
            category.isEmpty() ? "choice" : category);
    return new Row(question, base(question), image);
  }

  /** Whether a row is the unrotated one of its group. */
  private static boolean base(Question question) {
    return Long.toString(Long.parseLong(question.id())).equals(question.unit())
        || question.id().equals(question.unit());
  }

  /** Decodes the images, one file each. */
  private static void writeImages(Map<String, String> images, Path folder) {
    for (Map.Entry<String, String> image : images.entrySet()) {
      Path file = folder.resolve(image.getKey() + ".img");
      try {
        Files.createDirectories(folder);
        Files.write(file, Base64.getMimeDecoder().decode(image.getValue()));
      } catch (IllegalArgumentException e) {
        throw GraceException.data("image of row %s is not base64", image.getKey()).withCause(e);
      } catch (IOException e) {
        throw GraceException.environment("cannot write %s: %s", file, e).withCause(e);
      }
    }
  }

  /**
   * The letter that an answer names, "Z" for a refusal, empty when it cannot be told.
   *
   * @param choices texts of A, B, ...
   */
  static Optional<String> extract(String answer, List<String> choices) {
    if (REFUSALS.stream().anyMatch(answer::contains)) {
      return Optional.of("Z");
    }
    String plain = answer;
    for (char c : ".()[],:;!*#{}".toCharArray()) {
      plain = plain.replace(c, ' ');
    }
    List<String> words = PythonText.split(plain);
    List<String> named = new ArrayList<>();
    for (int i = 0; i < choices.size(); i++) {
      String letter = String.valueOf((char) ('A' + i));
      if (words.contains(letter)) {
        named.add(letter);
      }
    }
    if (named.size() == 1 && words.indexOf(named.get(0)) > words.size() - 5) {
      return Optional.of(named.get(0));
    }
    if (named.isEmpty() && words.contains("Z")) {
      return Optional.of("Z");
    }
    Matcher bold = BOLD.matcher(answer);
    if (bold.find()) {
      return Optional.of(bold.group(1).toUpperCase(Locale.ROOT));
    }
    return byText(answer.toLowerCase(Locale.ROOT), choices);
  }

  private static Optional<String> byText(String answer, List<String> choices) {
    int sum = choices.stream().mapToInt(PythonText::codePoints).sum();
    if (PythonText.codePoints(answer) > 2 * sum) {
      return Optional.empty();
    }
    Optional<String> found = Optional.empty();
    for (int i = 0; i < choices.size(); i++) {
      if (answer.contains(choices.get(i).toLowerCase(Locale.ROOT))) {
        if (found.isPresent()) {
          return Optional.empty();
        }
        found = Optional.of(String.valueOf((char) ('A' + i)));
      }
    }
    return found;
  }

  private record Letters(boolean circular) implements Scorer {
    @Override
    public String name() {
      return circular ? "mmbench-circular-exact" : "mmbench-vanilla-exact";
    }

    @Override
    public Graded grade(Question question, String answer) {
      String parsed = extract(answer, question.choices()).orElse("");
      return Graded.of(parsed, parsed.equals(question.answer()));
    }

    /** Circular: all rotations right, and none missing in the file. Otherwise the base row's. */
    @Override
    public double credit(List<Question> questions, List<Graded> graded) {
      if (!circular) {
        return base(questions, graded);
      }
      boolean all = graded.stream().allMatch(one -> one.credit() == 1);
      return all && whole(questions) ? 1 : 0;
    }

    /**
     * {@code vanilla}: accuracy over unrotated rows. {@code incomplete_groups}: fraction of groups
     * that are wrong since a rotation is not in the file.
     */
    @Override
    public Map<String, Double> metrics(List<GradedUnit> units) {
      double vanilla = 0;
      int incomplete = 0;
      for (GradedUnit unit : units) {
        vanilla += base(unit.questions(), unit.graded());
        incomplete += whole(unit.questions()) ? 0 : 1;
      }
      Map<String, Double> metrics = new HashMap<>();
      metrics.put("vanilla", Score.ratio(vanilla, units.size()));
      if (circular) {
        metrics.put("incomplete_groups", Score.ratio(incomplete, units.size()));
      }
      return metrics;
    }

    private static boolean whole(List<Question> questions) {
      return questions.size() >= questions.get(0).choices().size();
    }

    private static double base(List<Question> questions, List<Graded> graded) {
      double credit = 0;
      for (int i = 0; i < questions.size(); i++) {
        credit = MmBench.base(questions.get(i)) ? graded.get(i).credit() : credit;
      }
      return credit;
    }
  }
}
