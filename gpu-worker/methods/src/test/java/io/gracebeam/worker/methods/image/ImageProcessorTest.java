package io.gracebeam.worker.methods.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.awt.color.ColorSpace;
import java.awt.color.ICC_Profile;
import java.awt.image.BufferedImage;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import javax.imageio.ImageIO;
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
    for (String line : Files.readAllLines(GOLDENS.resolve("photos.sha256"))) {
      String[] parts = line.split(" ", 3);
      Path photo = photos.resolve(parts[2]);
      assertThat(sha256(RgbImage.read(photo).rgb())).as(parts[2] + " decoded").isEqualTo(parts[1]);
      assertThat(sha256(processor.pixels(photo))).as(parts[2]).isEqualTo(parts[0]);
    }
  }

  /** Pillow's convert("RGB") does not look at profiles. */
  @Test
  void profilesDoNotChangeTheLevels(@TempDir Path dir) throws Exception {
    BufferedImage image = new BufferedImage(40, 24, BufferedImage.TYPE_INT_RGB);
    for (int i = 0; i < 40 * 24; i++) {
      image.setRGB(i % 40, i / 40, (6 * (i % 40)) << 16 | (10 * (i / 40)) << 8 | i % 256);
    }
    Path plain = dir.resolve("plain.jpg");
    ImageIO.write(image, "jpg", plain.toFile());
    byte[] bytes = Files.readAllBytes(plain);
    byte[] profile = ICC_Profile.getInstance(ColorSpace.CS_LINEAR_RGB).getData();
    // After the start marker and the JFIF segment: APP2, its length, its name, part 1 of 1.
    int at = 4 + (bytes[4] << 8 | bytes[5] & 0xFF);
    ByteBuffer out = ByteBuffer.allocate(bytes.length + 18 + profile.length);
    out.put(bytes, 0, at).putShort((short) 0xFFE2).putShort((short) (16 + profile.length));
    out.put("ICC_PROFILE\0".getBytes(StandardCharsets.US_ASCII)).put((byte) 1).put((byte) 1);
    out.put(profile).put(bytes, at, bytes.length - at);
    Path tagged = Files.write(dir.resolve("tagged.jpg"), out.array());
    assertThat(ImageIO.read(tagged.toFile()).getRGB(20, 12))
        .isNotEqualTo(ImageIO.read(plain.toFile()).getRGB(20, 12));
    assertThat(RgbImage.read(tagged).rgb()).isEqualTo(RgbImage.read(plain).rgb());
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
    ImageProcessor.writeConfig(dir, "LlavaProcessor", 56);
    assertThat(ImageProcessor.load(dir).side()).isEqualTo(56);
  }
}
