package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.pipelines.photogrid.Thumbnail;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Optional;

/**
 * The training example whose picture the report shows: the first that is an image.
 *
 * @param example its index in the dataset
 * @param dataUri the picture, {@value #SIDE} pixels square
 */
record ShownPhoto(int example, String dataUri) {
  private static final int SIDE = 192;

  /** Examples that are looked at; a dataset that begins with so many broken photos gets no map. */
  private static final int TRIES = 64;

  /**
   * Looks for it.
   *
   * @param examples content of {@code train.json}
   * @param most examples that the run uses
   */
  static Optional<ShownPhoto> find(Path dataset, JsonNode examples, int most) {
    for (int i = 0; i < Math.min(Math.min(most, examples.size()), TRIES); i++) {
      String name = examples.path(i).path("image").asText();
      Optional<byte[]> png = inside(dataset, name).flatMap(photo -> Thumbnail.png(photo, SIDE));
      if (png.isPresent()) {
        String uri = "data:image/png;base64," + Base64.getEncoder().encodeToString(png.get());
        return Optional.of(new ShownPhoto(i, uri));
      }
    }
    return Optional.empty();
  }

  private static Optional<Path> inside(Path dataset, String name) {
    try {
      Path folder = dataset.normalize();
      Path photo = folder.resolve(name).normalize();
      return Optional.of(photo).filter(path -> !name.isEmpty() && path.startsWith(folder));
    } catch (InvalidPathException e) {
      return Optional.empty();
    }
  }
}
