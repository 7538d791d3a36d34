package io.gracebeam.worker.methods.image;

import io.gracebeam.proto.error.GraceException;
import java.awt.image.BufferedImage;
import java.awt.image.DataBuffer;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
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
record RgbImage(int width, int height, byte[] rgb) {
  private static final long MAX_PIXELS = 64L << 20;

  static {
    ImageIO.setUseCache(false);
  }

  /** Decodes a file; anything that is no whole image is a DATA error with the file's name. */
  static RgbImage read(Path file) {
    String name = String.valueOf(file.getFileName());
    if (!Files.isRegularFile(file)) {
      throw GraceException.data("image %s is missing", name);
    }
    try (ImageInputStream stream = ImageIO.createImageInputStream(file.toFile())) {
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

  static RgbImage of(BufferedImage image) {
    int width = image.getWidth();
    int height = image.getHeight();
    byte[] rgb = new byte[Math.multiplyExact(Math.multiplyExact(width, height), 3)];
    Raster raster = image.getRaster();
    if (raster.getNumBands() <= 2 && !(image.getColorModel() instanceof IndexColorModel)) {
      // The JDK would convert gray through a linear colour space; Pillow repeats the level.
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
