package io.gracebeam.pipelines.photogrid;

import java.awt.image.BufferedImage;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;

/** Decodes an image file to a square of RGB bytes; refuses what is truncated or too large. */
final class PhotoDecoder {
  private PhotoDecoder() {}

  /** The center square, averaged (or repeated) to side x side pixels. */
  static byte[] decode(byte[] file, int side, long maxPixels) throws IOException {
    try (ImageInputStream in = ImageIO.createImageInputStream(new ByteArrayInputStream(file))) {
      Iterator<ImageReader> readers = ImageIO.getImageReaders(in);
      if (!readers.hasNext()) {
        throw new IOException("not an image of a known format");
      }
      ImageReader reader = readers.next();
      try {
        reader.setInput(in, true, true);
        String[] warning = new String[1];
        reader.addIIOReadWarningListener((source, text) -> warning[0] = text);
        long pixels = (long) reader.getWidth(0) * reader.getHeight(0);
        if (pixels > maxPixels) {
          throw new IOException(pixels + " pixels; allowed are " + maxPixels);
        }
        checkEnd(reader.getFormatName(), file);
        BufferedImage image = reader.read(0);
        if (warning[0] != null && warning[0].startsWith("Premature end")) {
          throw new IOException("truncated");
        }
        return resize(pixels(image), image.getWidth(), image.getHeight(), side);
      } finally {
        reader.dispose();
      }
    } catch (RuntimeException e) {
      // Some decoders throw unchecked exceptions for broken files.
      throw new IOException("broken image: " + e, e);
    }
  }

  /** JPEG and PNG mark their end; decoders ignore its absence. */
  private static void checkEnd(String format, byte[] file) throws IOException {
    String text = new String(file, StandardCharsets.ISO_8859_1);
    boolean whole =
        switch (format) {
          case "JPEG" -> text.indexOf("\u00FF\u00D9", text.lastIndexOf("\u00FF\u00DA")) >= 0;
          case "png" -> text.contains("IEND");
          default -> true;
        };
    if (!whole) {
      throw new IOException("truncated");
    }
  }

  private static int[] pixels(BufferedImage image) {
    int w = image.getWidth();
    int h = image.getHeight();
    if (image.getType() == BufferedImage.TYPE_BYTE_GRAY) {
      // Raw samples: the color conversion of getRGB would brighten gray photos.
      Raster raster = image.getRaster();
      int[] gray = raster.getSamples(0, 0, w, h, 0, (int[]) null);
      for (int i = 0; i < gray.length; i++) {
        gray[i] *= 0x010101;
      }
      return gray;
    }
    int[] argb = image.getRGB(0, 0, w, h, null, 0, w);
    if (image.getColorModel().hasAlpha()) {
      for (int i = 0; i < argb.length; i++) {
        int a = argb[i] >>> 24;
        int out = 0;
        for (int shift = 0; shift <= 16; shift += 8) {
          int c = (argb[i] >> shift) & 255;
          out |= ((c * a + 255 * (255 - a) + 127) / 255) << shift;
        }
        argb[i] = out;
      }
    }
    return argb;
  }

  private static byte[] resize(int[] rgb, int w, int h, int side) {
    int square = Math.min(w, h);
    int left = (w - square) / 2;
    int top = (h - square) / 2;
    byte[] out = new byte[side * side * 3];
    for (int y = 0; y < side; y++) {
      int y0 = top + (int) ((long) y * square / side);
      int y1 = Math.max(y0 + 1, top + (int) ((long) (y + 1) * square / side));
      for (int x = 0; x < side; x++) {
        int x0 = left + (int) ((long) x * square / side);
        int x1 = Math.max(x0 + 1, left + (int) ((long) (x + 1) * square / side));
        long r = 0;
        long g = 0;
        long b = 0;
        for (int yy = y0; yy < y1; yy++) {
          for (int xx = x0; xx < x1; xx++) {
            int p = rgb[yy * w + xx];
            r += (p >> 16) & 255;
            g += (p >> 8) & 255;
            b += p & 255;
          }
        }
        long n = (long) (y1 - y0) * (x1 - x0);
        int at = (y * side + x) * 3;
        out[at] = (byte) ((r + n / 2) / n);
        out[at + 1] = (byte) ((g + n / 2) / n);
        out[at + 2] = (byte) ((b + n / 2) / n);
      }
    }
    return out;
  }
}
