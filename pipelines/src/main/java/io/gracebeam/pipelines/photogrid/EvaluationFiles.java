package io.gracebeam.pipelines.photogrid;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.transforms.statistics.CounterRng;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Locale;

/**
 * Writes evaluation questions in the layouts of public benchmarks: {@code open.json} (short answers
 * and counts, JSON lines), {@code pope.json} (POPE), {@code scienceqa.json} with {@code
 * scienceqa_split.json} (ScienceQA) and {@code mmbench.tsv} (MMBench with all rotations), with the
 * images of the first three in {@code benchmark-images/}.
 */
final class EvaluationFiles {
  private static final long EVALUATE = 4;
  private static final long ROTATION = 1_000_000;

  private final ObjectMapper mapper = new ObjectMapper();
  private final Questions questions;
  private final GridBuilder.Options options;
  private final StringBuilder open = new StringBuilder();
  private final StringBuilder pope = new StringBuilder();
  private final StringBuilder mmbench =
      new StringBuilder("index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsplit\n");
  private final ObjectNode problems = mapper.createObjectNode();
  private int openId;
  private int popeId;

  EvaluationFiles(Questions questions, GridBuilder.Options options) {
    this.questions = questions;
    this.options = options;
  }

  void write(Path folder, List<Grid> grids) throws IOException {
    Path images = folder.resolve("benchmark-images");
    Files.createDirectories(images);
    ArrayNode pids = mapper.createArrayNode();
    for (int i = 0; i < grids.size(); i++) {
      Grid grid = grids.get(i);
      CounterRng rng = CounterRng.of(options.seed(), EVALUATE, i);
      String image = String.format(Locale.ROOT, "%06d.png", i);
      byte[] png = Png.encode(grid.rgb(), grid.side(), grid.side());
      Files.write(images.resolve(image), png);
      for (int cell : GridBuilder.places(grid, rng)) {
        openLine(image, questions.open(grid, cell), grid.blurred()[cell]);
      }
      popeLine(image, questions.yesNo(grid, rng));
      popeLine(image, questions.yesNo(grid, rng));
      openLine(image, questions.count(grid, rng), false);
      if (i < options.multipleChoiceGrids()) {
        String pid = Integer.toString(i + 1);
        pids.add(pid);
        int cell = rng.nextInt(grid.cells());
        problems.set(pid, problem(image, questions.choice(grid, cell, rng)));
        rotations(i + 1, png, questions.relationChoice(grid, rng));
      }
    }
    Files.write(folder.resolve("open.json"), GridBuilder.utf8(open));
    Files.write(folder.resolve("pope.json"), GridBuilder.utf8(pope));
    Files.write(folder.resolve("mmbench.tsv"), GridBuilder.utf8(mmbench));
    Files.write(folder.resolve("scienceqa.json"), mapper.writeValueAsBytes(problems));
    ObjectNode splits = mapper.createObjectNode();
    splits.set("test", pids);
    Files.write(folder.resolve("scienceqa_split.json"), mapper.writeValueAsBytes(splits));
  }

  private void openLine(String image, Questions.Item item, boolean blurred) throws IOException {
    ObjectNode row = mapper.createObjectNode();
    row.put("question_id", ++openId);
    row.put("image", image);
    row.put("text", item.prompt());
    row.put("answer", item.answer());
    row.put("category", item.type());
    row.put("blurred", blurred);
    open.append(mapper.writeValueAsString(row)).append('\n');
  }

  private void popeLine(String image, Questions.Item item) throws IOException {
    ObjectNode row = mapper.createObjectNode();
    row.put("question_id", ++popeId);
    row.put("image", image);
    row.put("text", item.prompt());
    row.put("label", item.answer());
    pope.append(mapper.writeValueAsString(row)).append('\n');
  }

  private ObjectNode problem(String image, Questions.Item item) {
    ObjectNode row = mapper.createObjectNode();
    row.put("question", item.text());
    ArrayNode choices = row.putArray("choices");
    item.choices().forEach(choices::add);
    row.put("answer", item.index());
    row.put("hint", "");
    row.put("image", image);
    row.put("task", "closed choice");
    row.put("grade", "");
    row.put("subject", item.type());
    row.put("topic", "photo-grid");
    row.put("category", "photo-grid");
    row.put("skill", "");
    row.put("lecture", "");
    row.put("solution", item.reason());
    row.put("split", "test");
    return row;
  }

  /** One row per rotation of the options; the later rows name the first for their image. */
  private void rotations(int index, byte[] png, Questions.Item item) {
    int n = item.choices().size();
    for (int k = 0; k < n; k++) {
      List<String> turned = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        turned.add(i < n ? item.choices().get((i + k) % n) : "");
      }
      mmbench.append(index + k * ROTATION).append('\t').append(item.text()).append("\t\t");
      turned.forEach(choice -> mmbench.append(choice).append('\t'));
      mmbench
          .append((char) ('A' + turned.indexOf(item.answer())))
          .append('\t')
          .append(item.type())
          .append('\t')
          .append(k == 0 ? Base64.getEncoder().encodeToString(png) : Integer.toString(index))
          .append("\ttest\n");
    }
  }
}
