package io.gracebeam.pipelines.photogrid;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.gracebeam.proto.error.GraceException;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ClassPhotosTest {
  private static final ClassPhotos.Limits LIMITS = ClassPhotos.Limits.of(8, 0);
  @TempDir Path folder;

  private static byte[] image(String format, int type, int size, int rgb) throws Exception {
    BufferedImage image = new BufferedImage(size, size, type);
    if (type == BufferedImage.TYPE_BYTE_GRAY) {
      for (int i = 0; i < size * size; i++) {
        image.getRaster().setSample(i % size, i / size, 0, rgb & 255);
      }
    } else {
      for (int i = 0; i < size * size; i++) {
        image.setRGB(i % size, i / size, rgb);
      }
    }
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    ImageIO.write(image, format, out);
    return out.toByteArray();
  }

  private static Map<String, byte[]> files() throws Exception {
    byte[] jpeg = image("jpg", BufferedImage.TYPE_INT_RGB, 40, 0x2060a0);
    byte[] png = image("png", BufferedImage.TYPE_INT_RGB, 16, 0xff0000);
    Map<String, byte[]> files = new LinkedHashMap<>();
    files.put("set/dog/2.png", png);
    files.put("set/cat/gray.png", image("png", BufferedImage.TYPE_BYTE_GRAY, 9, 100));
    files.put("set/cat/1.jpg", jpeg);
    files.put("set/cat/cut.jpg", Arrays.copyOf(jpeg, jpeg.length * 2 / 3));
    files.put("set/cat/cut.png", Arrays.copyOf(png, png.length - 14));
    files.put("set/cat/text.jpg", "not an image".getBytes("UTF-8"));
    files.put("set/cat/void.jpg", new byte[0]);
    files.put("set/cat/.hidden", new byte[] {1});
    return files;
  }

  private Path zip(Map<String, byte[]> files) throws Exception {
    Path zip = folder.resolve("a.zip");
    try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(zip))) {
      for (Map.Entry<String, byte[]> f : files.entrySet()) {
        out.putNextEntry(new ZipEntry(f.getKey()));
        out.write(f.getValue());
      }
    }
    return zip;
  }

  @Test
  void brokenFilesBecomeDeadLettersAndTheRestGoesOn() throws Exception {
    for (Map.Entry<String, byte[]> f : files().entrySet()) {
      Path file = folder.resolve("root").resolve(f.getKey());
      Files.createDirectories(file.getParent());
      Files.write(file, f.getValue());
    }
    PhotoSet set = ClassPhotos.read(folder.resolve("root"), LIMITS);
    assertThat(set.classes()).containsExactly("cat", "dog");
    assertThat(set.photos())
        .extracting(PhotoSet.Photo::name)
        .containsExactly("set/cat/1.jpg", "set/cat/gray.png", "set/dog/2.png");
    assertThat(set.deadLetters())
        .extracting(PhotoSet.DeadLetter::name)
        .containsExactly(
            "set/cat/cut.jpg", "set/cat/cut.png", "set/cat/text.jpg", "set/cat/void.jpg");
    assertThat(set.deadLetters()).allSatisfy(d -> assertThat(d.reason()).doesNotContain("\n"));
    assertThat(set.photos().get(1).rgb()).containsOnly(100);
    assertThat(Arrays.copyOf(set.photos().get(2).rgb(), 3)).containsExactly(-1, 0, 0);
  }

  @Test
  void aZipReadsAsTheFolderAndPathsOutsideAreRefused() throws Exception {
    Map<String, byte[]> files = files();
    byte[] png = image("png", BufferedImage.TYPE_INT_RGB, 16, 0);
    files.put("../evil/1.png", png);
    files.put("/abs/1.png", png);
    files.put("set/cat/..\\x.png", png);
    PhotoSet set = ClassPhotos.read(zip(files), LIMITS);
    assertThat(set.classes()).containsExactly("cat", "dog");
    assertThat(set.photos()).hasSize(3);
    assertThat(set.deadLetters())
        .extracting(PhotoSet.DeadLetter::name)
        .contains("../evil/1.png", "/abs/1.png", "set/cat/..\\x.png");
    assertThat(folder.resolve("../evil")).doesNotExist();
  }

  @Test
  void limitsHold() throws Exception {
    Path zip = zip(files());
    PhotoSet one = ClassPhotos.read(zip, ClassPhotos.Limits.of(8, 1));
    assertThat(one.photos()).hasSize(2);
    ClassPhotos.Limits pixels = new ClassPhotos.Limits(8, 0, 100, 1 << 20, 300);
    assertThat(ClassPhotos.read(zip, pixels).deadLetters())
        .anySatisfy(d -> assertThat(d.reason()).contains("1600 pixels; allowed are 300"));
    assertThatThrownBy(() -> ClassPhotos.read(zip, new ClassPhotos.Limits(8, 0, 3, 100, 300)))
        .hasMessageContaining("more than the allowed 3 files");
  }

  @Test
  void unusablePlacesAreNamed() throws Exception {
    assertThatThrownBy(() -> ClassPhotos.read(folder.resolve("none"), LIMITS))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("neither a folder nor a zip");
    Path text = Files.writeString(folder.resolve("x.zip"), "hello");
    assertThatThrownBy(() -> ClassPhotos.read(text, LIMITS)).hasMessageContaining("zip");
    assertThatThrownBy(() -> ClassPhotos.read(zip(Map.of("a/b.jpg", new byte[] {1})), LIMITS))
        .hasMessageContaining("no usable photo");
  }

  @Test
  void readsCifar() {
    Path cifar = sharedData().resolve("cifar10-test.zip");
    assumeTrue(Files.exists(cifar), "skipped: cifar10-test.zip is not in the shared data folder");
    PhotoSet set = ClassPhotos.read(cifar, ClassPhotos.Limits.of(32, 20));
    assertThat(set.classes())
        .isEqualTo(
            List.of(
                "airplane",
                "automobile",
                "bird",
                "cat",
                "deer",
                "dog",
                "frog",
                "horse",
                "ship",
                "truck"));
    assertThat(set.photos()).hasSize(200);
    assertThat(set.deadLetters()).isEmpty();
  }

  /** The folder shared/data beside the repository, or beside one of its parents. */
  static Path sharedData() {
    Path at = Path.of("").toAbsolutePath();
    while (at != null && !Files.isDirectory(at.resolve("shared/data"))) {
      at = at.getParent();
    }
    return at == null ? Path.of("shared/data") : at.resolve("shared/data");
  }
}
