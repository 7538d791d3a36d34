package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ShownPhotoTest {
  @TempDir Path folder;

  private Path dataset() throws Exception {
    Path dataset = Files.createDirectories(folder.resolve("data"));
    Files.writeString(dataset.resolve("broken.png"), "no image");
    BufferedImage red = new BufferedImage(1000, 600, BufferedImage.TYPE_INT_RGB);
    for (int i = 0; i < 600_000; i++) {
      red.setRGB(i % 1000, i / 1000, 0xFF0000);
    }
    ImageIO.write(red, "png", dataset.resolve("red.png").toFile());
    ImageIO.write(red, "png", folder.resolve("outside.png").toFile());
    return dataset;
  }

  private static ArrayNode examples(String... images) {
    ArrayNode examples = new ObjectMapper().createArrayNode();
    for (String image : images) {
      examples.addObject().put("image", image);
    }
    return examples;
  }

  @Test
  void firstExampleWithAnImageIsShownSmall() throws Exception {
    ArrayNode examples = examples("", "broken.png", "../outside.png", "gone.png", "red.png");
    ShownPhoto photo = ShownPhoto.find(dataset(), examples, 5).orElseThrow();
    assertThat(photo.example()).isEqualTo(4);
    assertThat(photo.dataUri()).startsWith("data:image/png;base64,").hasSizeLessThan(200_000);
    byte[] png = Base64.getDecoder().decode(photo.dataUri().substring(22));
    BufferedImage image = ImageIO.read(new ByteArrayInputStream(png));
    assertThat(image.getWidth()).isEqualTo(192);
    assertThat(image.getRGB(100, 100)).isEqualTo(0xFFFF0000);
  }

  @Test
  void examplesThatTheRunLeavesOutAreNotShown() throws Exception {
    assertThat(ShownPhoto.find(dataset(), examples("broken.png", "red.png"), 1)).isEmpty();
  }
}
