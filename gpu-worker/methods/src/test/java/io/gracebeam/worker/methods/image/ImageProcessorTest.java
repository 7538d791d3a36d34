package io.gracebeam.worker.methods.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ImageProcessorTest {
  private static final Path GOLDENS = Path.of("src/test/resources/goldens");

  private static String sha256(byte[] bytes) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
  }

  @Test
  void equalsPillowOnSyntheticImages() throws Exception {
    JsonNode goldens = new ObjectMapper().readTree(GOLDENS.resolve("images.json").toFile());
    assertThat(goldens).hasSize(30);
    for (JsonNode golden : goldens) {
      Path file = GOLDENS.resolve("images").resolve(golden.get("file").asText());
      ImageProcessor processor = ImageProcessor.of(golden.get("size").asInt());
      String label = golden.get("file").asText() + " at " + processor.side();
      assertThat(sha256(processor.pixels(file))).as(label).isEqualTo(golden.get("sha256").asText());
      float[] values = processor.process(file);
      for (int i = 0; i < golden.get("at").size(); i++) {
        assertThat(values[golden.get("at").get(i).asInt()])
            .as(label)
            .isCloseTo(
                golden.get("values").get(i).floatValue(),
                org.assertj.core.data.Offset.offset(1e-6f));
      }
    }
  }

  @Test
  void equalsPillowOnPhotos() throws Exception {
    Path root = Path.of("").toAbsolutePath();
    while (root != null && !Files.exists(root.resolve("mvnw"))) {
      root = root.getParent();
    }
    String given = System.getenv("GRACE_PHOTOS");
    Path photos =
        given != null ? Path.of(given) : root.resolveSibling("shared").resolve("data/photos");
    assumeTrue(Files.isDirectory(photos), "skipped: ../shared/data/photos is absent");
    ImageProcessor processor = ImageProcessor.of(336);
    int compared = 0;
    int decodedOtherwise = 0;
    for (String line : Files.readAllLines(GOLDENS.resolve("photos.sha256"))) {
      String[] parts = line.split(" ", 3);
      Path photo = photos.resolve(parts[2]);
      if (!sha256(RgbImage.read(photo).rgb()).equals(parts[1])) {
        decodedOtherwise++; // the JDK's JPEG decoder is not Pillow's; resampling is compared on
        // equal pixels
        continue;
      }
      compared++;
      assertThat(sha256(processor.pixels(photo))).as(parts[2]).isEqualTo(parts[0]);
    }
    System.out.println(
        "photos equal to Pillow: " + compared + ", decoded otherwise: " + decodedOtherwise);
    assertThat(compared).isPositive();
  }

  @Test
  void badFilesAreNamed(@TempDir Path dir) throws Exception {
    Path text = Files.writeString(dir.resolve("text.png"), "no image");
    byte[] whole = Files.readAllBytes(GOLDENS.resolve("images/gray-80x60.jpg"));
    byte[] png = Files.readAllBytes(GOLDENS.resolve("images/noise-400x90.png"));
    Path cut = Files.write(dir.resolve("cut.jpg"), Arrays.copyOf(whole, whole.length / 2));
    Path cutPng = Files.write(dir.resolve("cut.png"), Arrays.copyOf(png, png.length / 2));
    for (Path file : new Path[] {text, cut, cutPng, dir.resolve("missing.png")}) {
      assertThatThrownBy(() -> ImageProcessor.of(28).process(file))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
          .hasMessageContaining(file.getFileName().toString());
    }
  }

  @Test
  void configurationRoundTrip(@TempDir Path dir) {
    ImageProcessor.writeConfig(dir, 56);
    assertThat(ImageProcessor.load(dir).side()).isEqualTo(56);
  }
}
