package io.gracebeam.pipelines.photogrid;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/** A photo made small enough to stand in a page. */
public final class Thumbnail {
  private static final long MOST_PIXELS = 64_000_000;
  private static final long MOST_BYTES = 64L << 20;

  private Thumbnail() {}

  /**
   * The center square of a photo as a PNG file.
   *
   * @param side of the square in pixels, which alone determines the size of the file
   * @return empty if the file cannot be read as an image
   */
  public static Optional<byte[]> png(Path file, int side) {
    try {
      if (!Files.isRegularFile(file) || Files.size(file) > MOST_BYTES) {
        return Optional.empty();
      }
      byte[] rgb = PhotoDecoder.decode(Files.readAllBytes(file), side, MOST_PIXELS);
      return Optional.of(Png.encode(rgb, side, side));
    } catch (IOException e) {
      return Optional.empty();
    }
  }
}
