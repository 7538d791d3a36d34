package io.gracebeam.transforms.scoring;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * MMBench (Liu et al. 2023): tab-separated rows with the image in base64. A short image cell names
 * the row whose image is used. A question's rotations have index base + k 1,000,000; in circular
 * scoring the question counts only if all its rotations are answered rightly. Letters are found by
 * rules alone, no judge model and no random choice.
 */
public final class MmBench implements Benchmark {
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

  private record Row(Question question, String group, boolean base, int options, String image) {}

  private final List<Row> rows;
  private final Map<String, String> images;
  private final Path imageFolder;
  private final boolean circular;
  private final Map<String, String> groups = new HashMap<>();

  private MmBench(List<Row> rows, Map<String, String> images, Path imageFolder, boolean circular) {
    this.rows = List.copyOf(rows);
    this.images = images;
    this.imageFolder = imageFolder;
    this.circular = circular;
    rows.forEach(row -> groups.put(row.question().id(), row.group()));
  }

  /**
   * Reads a file.
   *
   * @param imageFolder where {@link #writeImages} puts the images, named after their row
   * @param circular score groups of rotations; otherwise only the unrotated rows are asked
   */
  public static MmBench read(Path file, Path imageFolder, PromptStyle style, boolean circular) {
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
    return new MmBench(rows, images, imageFolder, circular);
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
            Optional.of(image + ".img"),
            style.letter(row.getOrDefault("hint", ""), row.get("question"), choices),
            choices,
            answer,
            category.isEmpty() ? "choice" : category);
    return new Row(
        question,
        group.isEmpty() ? Long.toString(index % ROTATION) : group,
        group.isEmpty() ? index < ROTATION : group.equals(id),
        choices.size(),
        image);
  }

  /**
   * Decodes the images into the image folder, one file per image, named as the questions say.
   *
   * @return file names in order
   */
  public List<String> writeImages() {
    List<String> names = new ArrayList<>();
    for (Map.Entry<String, String> image : images.entrySet()) {
      String name = image.getKey() + ".img";
      try {
        Files.createDirectories(imageFolder);
        Files.write(imageFolder.resolve(name), Base64.getMimeDecoder().decode(image.getValue()));
      } catch (IllegalArgumentException e) {
        throw GraceException.data("image of row %s is not base64", image.getKey());
      } catch (IOException e) {
        throw GraceException.environment("cannot write %s: %s", imageFolder.resolve(name), e);
      }
      names.add(name);
    }
    return names;
  }

  @Override
  public String format() {
    return "mmbench";
  }

  @Override
  public List<Question> questions() {
    return rows.stream().map(Row::question).toList();
  }

  /** The group of its rotations. */
  @Override
  public String unit(Question question) {
    return groups.getOrDefault(question.id(), question.id());
  }

  @Override
  public Path imageFolder() {
    return imageFolder;
  }

  /**
   * The letter that an answer names, "Z" for a refusal, empty when it cannot be told.
   *
   * @param choices texts of A, B, ...
   */
  public static Optional<String> extract(String answer, List<String> choices) {
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

  /** What is known of one question and its rotations. */
  private static final class Group {
    final List<Row> rows = new ArrayList<>();
    boolean all = true;
    int base;
    String parsed = "";
  }

  /**
   * Scores groups (circular) or unrotated rows. Metrics: {@code accuracy} over the units, {@code
   * vanilla} over unrotated rows, {@code incomplete_groups} as a fraction of groups, which are
   * wrong since a rotation is not in the file.
   */
  @Override
  public Score score(Map<String, String> answers) {
    Map<String, Group> groups = new LinkedHashMap<>();
    int missing = 0;
    int unparsed = 0;
    for (Row row : rows) {
      Question q = row.question();
      String text = answers.get(q.id());
      Optional<String> parsed = text == null ? Optional.empty() : extract(text, q.choices());
      missing += text == null ? 1 : 0;
      unparsed += text != null && parsed.isEmpty() ? 1 : 0;
      boolean right = parsed.filter(q.answer()::equals).isPresent();
      Group group = groups.computeIfAbsent(row.group(), g -> new Group());
      group.rows.add(row);
      group.all &= right;
      if (row.base()) {
        group.base = right ? 1 : 0;
        group.parsed = parsed.orElse("");
      }
    }
    int vanilla = 0;
    int incomplete = 0;
    List<Score.Answer> scored = new ArrayList<>();
    for (Map.Entry<String, Group> entry : groups.entrySet()) {
      Group group = entry.getValue();
      Row first = group.rows.get(0);
      boolean whole = group.rows.size() >= first.options();
      incomplete += whole ? 0 : 1;
      vanilla += group.base;
      int correct = circular ? (group.all && whole ? 1 : 0) : group.base;
      scored.add(
          new Score.Answer(
              entry.getKey(), first.question().type(), first.image(), group.parsed, correct));
    }
    Map<String, Double> more = new HashMap<>();
    more.put("vanilla", Score.ratio(vanilla, groups.size()));
    if (circular) {
      more.put("incomplete_groups", Score.ratio(incomplete, groups.size()));
    }
    int extra = answers.size() - (rows.size() - missing);
    String scorer = circular ? "mmbench-circular-exact" : "mmbench-vanilla-exact";
    return Score.of(format(), scorer, scored, more, unparsed, missing, extra);
  }
}
