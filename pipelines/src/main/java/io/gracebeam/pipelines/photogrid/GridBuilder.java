package io.gracebeam.pipelines.photogrid;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.statistics.CounterRng;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Writes a dataset folder of photo grids: {@code train.json} (LLaVA conversations, with question
 * types, cell classes and which cells are blurred), {@code classes.json}, {@code images/}, and the
 * benchmark files of {@link EvaluationFiles}. Training grids show only training photos, evaluation
 * grids only test photos. The bytes are a function of the photos, the options and the seed.
 */
public final class GridBuilder {
  private static final long TRAIN = 1;
  private static final long TEST = 2;
  private static final long ASK = 3;
  private static final int ASKED_PLACES = 4;

  /**
   * What to build.
   *
   * @param size grid rows and columns, 2 or 3
   * @param trainGrids training grids, seven questions each
   * @param testGrids evaluation grids
   * @param multipleChoiceGrids how many of them also get multiple-choice questions
   * @param blur fraction of photos that are blurred, in [0, 1]
   * @param choiceShare fraction of training place questions asked with lettered options
   * @param relationShare fraction of training place questions replaced by relations
   * @param rationaleShare fraction of training yes/no, count and relation questions that end in
   *     "Explain." and whose answers then give the reason
   * @param seed of every draw
   */
  public record Options(
      int size,
      int trainGrids,
      int testGrids,
      int multipleChoiceGrids,
      double blur,
      double choiceShare,
      double relationShare,
      double rationaleShare,
      long seed) {
    /** Checks the ranges. */
    public Options {
      if (size != 2 && size != 3) {
        throw GraceException.user("grid size is %d; allowed is 2 or 3", size);
      }
      if (trainGrids < 0
          || testGrids < 0
          || multipleChoiceGrids < 0
          || multipleChoiceGrids > testGrids) {
        throw GraceException.user(
            "grids are %d training, %d test, %d of them multiple-choice; none may be negative, and"
                + " the last at most the second",
            trainGrids, testGrids, multipleChoiceGrids);
      }
      share("blur", blur);
      share("choiceShare", choiceShare);
      share("relationShare", relationShare);
      share("rationaleShare", rationaleShare);
      share("choiceShare + relationShare", choiceShare + relationShare);
    }

    private static void share(String name, double value) {
      if (!(value >= 0 && value <= 1)) {
        throw GraceException.user("%s is %s; allowed is 0 to 1", name, value);
      }
    }

    /** 2 x 2 grids, 20 % blurred, 15 % choices, 10 % relations, 5 % rationales. */
    public static Options of(int trainGrids, int testGrids, long seed) {
      return new Options(2, trainGrids, testGrids, testGrids / 4, 0.2, 0.15, 0.1, 0.05, seed);
    }
  }

  private final PhotoSet train;
  private final PhotoSet test;
  private final Options options;

  /**
   * A builder.
   *
   * @throws GraceException where the two sets have different classes or photo sizes, or one class
   */
  public GridBuilder(PhotoSet train, PhotoSet test, Options options) {
    if (!train.classes().equals(test.classes()) || train.side() != test.side()) {
      throw GraceException.data(
          "training and test photos differ: classes %s and %s, sides %d and %d",
          train.classes(), test.classes(), train.side(), test.side());
    }
    if (train.classes().size() < 2) {
      throw GraceException.data(
          "photos: only the class %s is there; at least 2 are needed", train.classes());
    }
    this.train = train;
    this.test = test;
    this.options = options;
  }

  /** Writes everything under {@code folder}, which is made where it is missing. */
  public void write(Path folder) {
    try {
      Files.createDirectories(folder.resolve("images"));
      Files.write(
          folder.resolve("classes.json"), new ObjectMapper().writeValueAsBytes(train.classes()));
      StringBuilder letters = new StringBuilder();
      for (PhotoSet set : List.of(train, test)) {
        for (PhotoSet.DeadLetter letter : set.deadLetters()) {
          letters
              .append(letter.name().replaceAll("\\s", " "))
              .append('\t')
              .append(letter.reason())
              .append('\n');
        }
      }
      Files.writeString(folder.resolve("dead-letters.tsv"), letters);
      writeTraining(folder);
      List<Grid> grids = new ArrayList<>();
      List<int[]> byClass = test.byClass();
      for (int i = 0; i < options.testGrids(); i++) {
        CounterRng rng = CounterRng.of(options.seed(), TEST, i);
        grids.add(Grid.draw(test, byClass, options.size(), false, options.blur(), rng));
      }
      new EvaluationFiles(new Questions(test.classes()), options).write(folder, grids);
    } catch (IOException e) {
      throw GraceException.environment(
          "cannot write the dataset to %s: %s", folder, e.getMessage());
    }
  }

  private void writeTraining(Path folder) throws IOException {
    Questions questions = new Questions(train.classes());
    List<int[]> byClass = train.byClass();
    try (OutputStream out = Files.newOutputStream(folder.resolve("train.json"));
        JsonGenerator json = new JsonFactory().createGenerator(out)) {
      json.setCodec(new ObjectMapper());
      json.writeStartArray();
      for (int i = 0; i < options.trainGrids(); i++) {
        CounterRng rng = CounterRng.of(options.seed(), TRAIN, i);
        Grid grid = Grid.draw(train, byClass, options.size(), true, options.blur(), rng);
        String id = String.format(Locale.ROOT, "%06d", i);
        String image = "images/" + id + ".png";
        Files.write(folder.resolve(image), Png.encode(grid.rgb(), grid.side(), grid.side()));
        json.writeRaw(i == 0 ? "\n" : "");
        conversation(json, id, image, grid, ask(questions, grid, i));
        json.writeRaw('\n');
      }
      json.writeEndArray();
    }
  }

  /** Four places, two yes/no, one count, in random order. */
  private List<Questions.Item> ask(Questions questions, Grid grid, int number) {
    CounterRng rng = CounterRng.of(options.seed(), TRAIN, ASK, number);
    List<Questions.Item> items = new ArrayList<>();
    for (int cell : places(grid, rng)) {
      double kind = rng.nextDouble();
      Questions.Item item = null;
      if (kind < options.choiceShare()) {
        item = questions.choice(grid, cell, rng);
      } else if (kind < options.choiceShare() + options.relationShare()) {
        item =
            rng.nextInt(2) == 0
                ? questions.relation(grid, rng)
                : questions.relationChoice(grid, rng);
      }
      items.add(item == null ? questions.open(grid, cell) : item);
    }
    items.add(questions.yesNo(grid, rng));
    items.add(questions.yesNo(grid, rng));
    items.add(questions.count(grid, rng));
    int[] order = java.util.stream.IntStream.range(0, items.size()).toArray();
    rng.shuffle(order);
    List<Questions.Item> shuffled = new ArrayList<>();
    for (int at : order) {
      Questions.Item item = items.get(at);
      boolean explain =
          !item.reason().isEmpty()
              && item.choices().isEmpty()
              && rng.nextDouble() < options.rationaleShare();
      shuffled.add(
          explain
              ? new Questions.Item(
                  item.type(),
                  item.text() + Questions.EXPLAIN,
                  List.of(),
                  item.answer() + ". " + item.reason(),
                  item.reason())
              : item);
    }
    return shuffled;
  }

  /** The cells to ask about: all four, or four of nine. */
  static int[] places(Grid grid, CounterRng rng) {
    int[] cells = java.util.stream.IntStream.range(0, grid.cells()).toArray();
    rng.shuffle(cells);
    return java.util.Arrays.copyOf(cells, ASKED_PLACES);
  }

  private void conversation(
      JsonGenerator json, String id, String image, Grid grid, List<Questions.Item> items)
      throws IOException {
    json.writeStartObject();
    json.writeStringField("id", id);
    json.writeStringField("image", image);
    json.writeArrayFieldStart("conversations");
    for (int q = 0; q < items.size(); q++) {
      turn(json, "human", (q == 0 ? "<image>\n" : "") + items.get(q).prompt());
      turn(json, "gpt", items.get(q).reply());
    }
    json.writeEndArray();
    json.writeArrayFieldStart("types");
    for (Questions.Item item : items) {
      json.writeString(item.type());
    }
    json.writeEndArray();
    json.writeArrayFieldStart("cells");
    for (int label : grid.labels()) {
      json.writeString(train.classes().get(label));
    }
    json.writeEndArray();
    json.writeArrayFieldStart("blurred");
    for (boolean b : grid.blurred()) {
      json.writeBoolean(b);
    }
    json.writeEndArray();
    json.writeEndObject();
  }

  private static void turn(JsonGenerator json, String from, String value) throws IOException {
    json.writeStartObject();
    json.writeStringField("from", from);
    json.writeStringField("value", value);
    json.writeEndObject();
  }

  static byte[] utf8(CharSequence text) {
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }
}
