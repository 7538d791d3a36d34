package io.gracebeam.worker.methods.image;

import io.gracebeam.proto.error.GraceException;
import java.awt.image.BufferedImage;
import java.awt.image.DataBuffer;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Iterator;
import java.util.concurrent.atomic.AtomicReference;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;

/**
 * A decoded 8-bit RGB image; alpha is dropped, gray repeated, an animated file gives its first
 * frame, as Pillow's convert("RGB").
 *
 * @param width pixels
 * @param height pixels
 * @param rgb [height, width, 3]
 */
public record RgbImage(int width, int height, byte[] rgb) {
  private static final long MAX_PIXELS = 64L << 20;
  private static final byte START_OF_SCAN = (byte) 0xDA;
  private static final byte APP2 = (byte) 0xE2;
  private static final byte[] PROFILE = "ICC_PROFILE\0".getBytes(StandardCharsets.US_ASCII);

  static {
    ImageIO.setUseCache(false);
  }

  /** Decodes a file; anything that is no whole image is a DATA error with the file's name. */
  public static RgbImage read(Path file) {
    String name = String.valueOf(file.getFileName());
    if (!Files.isRegularFile(file)) {
      throw GraceException.data("image %s is missing", name);
    }
    try (ImageInputStream stream = ImageIO.createImageInputStream(open(file))) {
      Iterator<ImageReader> readers =
          stream == null ? java.util.Collections.emptyIterator() : ImageIO.getImageReaders(stream);
      if (!readers.hasNext()) {
        throw GraceException.data("%s is no image; allowed: JPEG, PNG, GIF, BMP, TIFF", name);
      }
      ImageReader reader = readers.next();
      try {
        reader.setInput(stream, true, true);
        long pixels = (long) reader.getWidth(0) * reader.getHeight(0);
        if (pixels <= 0 || pixels > MAX_PIXELS) {
          throw GraceException.data(
              "image %s has %d pixels; allowed: 1 to %d", name, pixels, MAX_PIXELS);
        }
        AtomicReference<String> damage = new AtomicReference<>();
        reader.addIIOReadWarningListener(
            (source, warning) -> {
              if (warning.contains("remature end") || warning.contains("runcated")) {
                damage.set(warning);
              }
            });
        BufferedImage image = reader.read(0);
        if (damage.get() != null) {
          throw GraceException.data("image %s is truncated", name);
        }
        return of(image);
      } finally {
        reader.dispose();
      }
    } catch (GraceException e) {
      throw e;
    } catch (IOException | RuntimeException e) {
      throw GraceException.data(
              "image %s cannot be decoded (%s)", name, String.valueOf(e.getMessage()))
          .withCause(e);
    }
  }

  /**
   * What the decoder is to see. A JPEG file loses its ICC profile: the JDK would take its levels to
   * sRGB, Pillow's convert("RGB") leaves them alone, and so did the models' training.
   */
  private static Object open(Path file) throws IOException {
    byte[] head = new byte[2];
    try (InputStream in = Files.newInputStream(file)) {
      if (in.readNBytes(head, 0, 2) < 2 || head[0] != (byte) 0xFF || head[1] != (byte) 0xD8) {
        return file.toFile();
      }
    }
    return new ByteArrayInputStream(withoutProfile(Files.readAllBytes(file)));
  }

  /** The JPEG file without APP2 segments named ICC_PROFILE; other bytes as they are. */
  static byte[] withoutProfile(byte[] jpeg) {
    ByteArrayOutputStream out = new ByteArrayOutputStream(jpeg.length);
    out.write(jpeg, 0, 2);
    int at = 2;
    while (at + 4 <= jpeg.length && jpeg[at] == (byte) 0xFF && jpeg[at + 1] != START_OF_SCAN) {
      int size = 2 + ((jpeg[at + 2] & 0xFF) << 8 | jpeg[at + 3] & 0xFF);
      if (at + size > jpeg.length) {
        break;
      }
      boolean profile =
          jpeg[at + 1] == APP2
              && size > 4 + PROFILE.length
              && Arrays.equals(jpeg, at + 4, at + 4 + PROFILE.length, PROFILE, 0, PROFILE.length);
      if (!profile) {
        out.write(jpeg, at, size);
      }
      at += size;
    }
    out.write(jpeg, at, jpeg.length - at);
    return out.toByteArray();
  }

  static RgbImage of(BufferedImage image) {
    int width = image.getWidth();
    int height = image.getHeight();
    byte[] rgb = new byte[Math.multiplyExact(Math.multiplyExact(width, height), 3)];
    Raster raster = image.getRaster();
    if (raster.getNumBands() <= 2 && !(image.getColorModel() instanceof IndexColorModel)) {
      // The JDK would convert gray through a linear color space; Pillow repeats the level.
      int shift = raster.getDataBuffer().getDataType() == DataBuffer.TYPE_USHORT ? 8 : 0;
      int[] row = new int[width];
      for (int y = 0, at = 0; y < height; y++) {
        raster.getSamples(0, y, width, 1, 0, row);
        for (int level : row) {
          byte value = (byte) (level >> shift);
          rgb[at++] = value;
          rgb[at++] = value;
          rgb[at++] = value;
        }
      }
    } else {
      int[] row = new int[width];
      for (int y = 0, at = 0; y < height; y++) {
        image.getRGB(0, y, width, 1, row, 0, width);
        for (int pixel : row) {
          rgb[at++] = (byte) (pixel >> 16);
          rgb[at++] = (byte) (pixel >> 8);
          rgb[at++] = (byte) pixel;
        }
      }
    }
    return new RgbImage(width, height, rgb);
  }
}
