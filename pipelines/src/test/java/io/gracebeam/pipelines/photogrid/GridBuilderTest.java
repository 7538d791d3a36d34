package io.gracebeam.pipelines.photogrid;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.transforms.scoring.Benchmark;
import io.gracebeam.transforms.scoring.BenchmarkFiles;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.Score;
import java.awt.image.BufferedImage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GridBuilderTest {
  @TempDir Path folder;

  private static PhotoSet shapes(long set) {
    return ShapePhotos.draw(7, set, 5, 32);
  }

  private Path build(String name, GridBuilder.Options options) {
    Path out = folder.resolve(name);
    new GridBuilder(shapes(0), shapes(1), options).write(out);
    return out;
  }

  private static Map<String, byte[]> content(Path root) throws Exception {
    Map<String, byte[]> files = new TreeMap<>();
    try (Stream<Path> walk = Files.walk(root)) {
      for (Path p : (Iterable<Path>) walk.filter(Files::isRegularFile)::iterator) {
        files.put(root.relativize(p).toString(), Files.readAllBytes(p));
      }
    }
    return files;
  }

  @Test
  void theSeedDecidesEveryByte() throws Exception {
    Map<String, byte[]> a = content(build("a", GridBuilder.Options.of(12, 8, 3)));
    Map<String, byte[]> b = content(build("b", GridBuilder.Options.of(12, 8, 3)));
    Map<String, byte[]> c = content(build("c", GridBuilder.Options.of(12, 8, 4)));
    assertThat(a.keySet()).isEqualTo(b.keySet());
    a.forEach((name, bytes) -> assertThat(b.get(name)).as(name).isEqualTo(bytes));
    assertThat(c.get("train.json")).isNotEqualTo(a.get("train.json"));
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3})
  void trainingAnswersAreTrue(int size) throws Exception {
    GridBuilder.Options options = new GridBuilder.Options(size, 60, 0, 0, 0.2, 0.2, 0.2, 0.3, 11);
    Path out = build("t" + size, options);
    JsonNode train = new ObjectMapper().readTree(out.resolve("train.json").toFile());
    assertThat(train).hasSize(60);
    int explained = 0;
    Map<String, Integer> types = new HashMap<>();
    for (JsonNode row : train) {
      assertThat(row.get("cells")).hasSize(size * size);
      assertThat(row.get("types")).hasSize(7);
      assertThat(row.get("conversations")).hasSize(14);
      BufferedImage image = ImageIO.read(out.resolve(row.get("image").asText()).toFile());
      assertThat(image.getWidth()).isEqualTo(32 * size);
      for (int q = 0; q < 7; q++) {
        String type = row.get("types").get(q).asText();
        types.merge(type, 1, Integer::sum);
        String ask = row.get("conversations").get(2 * q).get("value").asText();
        String reply = row.get("conversations").get(2 * q + 1).get("value").asText();
        assertThat(ask.startsWith("<image>\n")).isEqualTo(q == 0);
        explained += ask.endsWith("Explain.") ? 1 : 0;
        check(row.get("cells"), size, type, ask.replace("<image>\n", ""), reply);
      }
    }
    assertThat(types).containsOnlyKeys("open", "yesno", "count", "choice", "relation");
    assertThat(types).containsEntry("yesno", 120).containsEntry("count", 60);
    assertThat(explained).isPositive();
  }

  private static void check(JsonNode cells, int size, String type, String ask, String reply) {
    String first = reply.replaceAll("\\..*", "");
    long count = 0;
    String subject = ask.replaceAll("^(Is there an? |How many )| in the image.*| are there.*", "");
    for (JsonNode cell : cells) {
      String name = cell.asText().replace('-', ' ');
      boolean group = type.equals("count") && subject.equals(plural(name));
      count += group || (type.equals("yesno") && name.equals(subject)) ? 1 : 0;
    }
    if (type.equals("yesno")) {
      assertThat(first).as(ask).isEqualTo(count > 0 ? "yes" : "no");
    } else if (type.equals("count")) {
      assertThat(first).as(ask).isEqualTo("" + count);
    } else if (type.equals("open") && size == 2) {
      int at = (ask.contains("bottom") ? 2 : 0) + (ask.contains("right") ? 1 : 0);
      assertThat(first).as(ask).isEqualTo(cells.get(at).asText().replace('-', ' '));
    } else if (type.equals("choice") && size == 2) {
      int at = (ask.contains("bottom") ? 2 : 0) + (ask.contains("right?") ? 1 : 0);
      String right = cells.get(at).asText().replace('-', ' ');
      assertThat(reply).as(ask).matches(right + "\\. The answer is [A-D]\\.");
      char letter = reply.charAt(reply.length() - 2);
      assertThat((ask + "\n")).contains("\n" + letter + ". " + right + "\n");
    }
  }

  private static String plural(String name) {
    String last = name.substring(name.indexOf(' ') + 1);
    return last.equals("cross") ? "crosses" : last + "s";
  }

  @Test
  void perfectAnswersScoreOneInEveryBenchmark() throws Exception {
    Path out = build("e", GridBuilder.Options.of(0, 12, 5));
    Map<String, Integer> expected = Map.of("open", 60, "pope", 24, "scienceqa", 3, "mmbench", 12);
    for (Map.Entry<String, Integer> entry : expected.entrySet()) {
      Path scratch = folder.resolve("scratch");
      BenchmarkFormat format = BenchmarkFormat.all().get(entry.getKey());
      Benchmark bench =
          format.read(BenchmarkFiles.ofDataset(entry.getKey(), out, scratch), format.promptStyle());
      assertThat(bench.questions()).as(entry.getKey()).hasSize(entry.getValue());
      Map<String, String> answers = new HashMap<>();
      for (Question q : bench.questions()) {
        answers.put(q.id(), q.answer());
        Path image = bench.imageFolder().orElseThrow().resolve(q.images().get(0));
        assertThat(ImageIO.read(image.toFile()).getHeight()).isEqualTo(64);
      }
      assertThat(Score.of(format.scorer(), bench.questions(), answers).accuracy())
          .as(entry.getKey())
          .isEqualTo(1.0);
      if (entry.getKey().equals("scienceqa") || entry.getKey().equals("mmbench")) {
        // As the training answers have it, with the reason first.
        answers.replaceAll((id, letter) -> "something. The answer is " + letter + ".");
        assertThat(Score.of(format.scorer(), bench.questions(), answers).accuracy())
            .as(entry.getKey())
            .isEqualTo(1.0);
      }
      answers.replaceAll((id, text) -> "?");
      assertThat(Score.of(format.scorer(), bench.questions(), answers).accuracy())
          .as(entry.getKey())
          .isLessThan(1.0);
    }
  }

  @Test
  void gridsShowPhotosOfTheirOwnSetOnly() {
    // Training photos are black, test photos are white.
    PhotoSet black = plain(0);
    PhotoSet white = plain(255);
    Path out = folder.resolve("split");
    new GridBuilder(black, white, GridBuilder.Options.of(3, 3, 1)).write(out);
    for (int i = 0; i < 3; i++) {
      assertThat(pixel(out.resolve("images/00000" + i + ".png"))).isZero();
      assertThat(pixel(out.resolve("benchmark-images/00000" + i + ".png"))).isEqualTo(0xffffff);
    }
  }

  private static int pixel(Path file) {
    try {
      return ImageIO.read(file.toFile()).getRGB(10, 10) & 0xffffff;
    } catch (java.io.IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  private static PhotoSet plain(int value) {
    byte[] rgb = new byte[32 * 32 * 3];
    java.util.Arrays.fill(rgb, (byte) value);
    return new PhotoSet(
        32,
        List.of("cat", "dog"),
        List.of(new PhotoSet.Photo("cat/1", 0, rgb), new PhotoSet.Photo("dog/1", 1, rgb)),
        List.of());
  }

  @Test
  void badOptionsAreNamed() {
    assertThatThrownBy(() -> new GridBuilder.Options(4, 1, 1, 0, 0.2, 0, 0, 0, 1))
        .hasMessageContaining("grid size is 4; allowed is 2 or 3");
    assertThatThrownBy(() -> new GridBuilder.Options(2, 1, 1, 0, 1.2, 0, 0, 0, 1))
        .hasMessageContaining("blur is 1.2");
  }

  @Test
  void animalsAreCountedAmongCifarClasses() {
    List<Groups.Group> groups = Groups.of(List.of("airplane", "bird", "cat", "ship"));
    assertThat(groups).extracting(Groups.Group::plural).containsExactly("animals");
    assertThat(groups.get(0).members().cardinality()).isEqualTo(2);
    assertThat(Groups.of(List.of("bus", "box", "car")))
        .extracting(Groups.Group::plural)
        .containsExactly("buses", "boxes", "cars");
  }

  @Test
  void shapesVaryWithinAClassAndRepeatFromTheSeed() {
    PhotoSet a = shapes(0);
    assertThat(a.classes()).hasSize(12).contains("red-circle", "blue-cross");
    assertThat(a.photos()).hasSize(60);
    assertThat(a.photos().get(0).rgb()).isEqualTo(shapes(0).photos().get(0).rgb());
    assertThat(a.photos().get(0).rgb()).isNotEqualTo(a.photos().get(1).rgb());
    assertThat(a.photos().get(0).rgb()).isNotEqualTo(shapes(1).photos().get(0).rgb());
  }
}
