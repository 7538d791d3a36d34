package io.gracebeam.worker.methods.model;

import io.gracebeam.proto.error.GraceException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * One sequence for a model.
 *
 * @param ids token ids, a placeholder for each visual token
 * @param labels which tokens an answer to be learned consists of
 * @param images the images in order of their placeholders
 * @param positions [axes][tokens]; null for 0, 1, 2, ... on one axis
 * @param next position of the token that follows
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record ModelInput(
    long[] ids, boolean[] labels, List<Placed> images, int[][] positions, int next) {
  /**
   * An image in its sequence.
   *
   * @param start its first placeholder; as many follow as it has visual tokens
   */
  public record Placed(ModelImage image, int start) {}

  /** Takes a copy of the images. */
  public ModelInput {
    images = List.copyOf(images);
  }

  /**
   * Repeats the placeholder of each image as often as the image has visual tokens; positions count
   * from 0.
   *
   * @param ids token ids, one placeholder for each image
   * @param labels which of them an answer consists of
   * @param placeholder id of the placeholder
   * @throws GraceException data, if there are more or fewer placeholders than images
   */
  public static ModelInput expanded(
      long[] ids, boolean[] labels, int placeholder, List<ModelImage> images) {
    int found = (int) Arrays.stream(ids).filter(id -> id == placeholder).count();
    if (found != images.size()) {
      throw GraceException.data(
          "%d image placeholders for %d images; allowed: one each", found, images.size());
    }
    int length = ids.length - found + images.stream().mapToInt(ModelImage::tokens).sum();
    long[] out = new long[length];
    boolean[] outLabels = new boolean[length];
    List<Placed> placed = new ArrayList<>();
    int n = 0;
    for (int i = 0; i < ids.length; i++) {
      int copies = 1;
      if (ids[i] == placeholder) {
        ModelImage image = images.get(placed.size());
        placed.add(new Placed(image, n));
        copies = image.tokens();
      }
      Arrays.fill(out, n, n + copies, ids[i]);
      Arrays.fill(outLabels, n, n + copies, labels[i]);
      n += copies;
    }
    return new ModelInput(out, outLabels, placed, null, length);
  }

  /** The sequence with more text behind it, which nothing has to be learned from. */
  public ModelInput followedBy(long[] more) {
    int length = ids.length + more.length;
    long[] all = Arrays.copyOf(ids, length);
    System.arraycopy(more, 0, all, ids.length, more.length);
    int[][] longer = positions == null ? null : new int[positions.length][];
    for (int a = 0; longer != null && a < longer.length; a++) {
      longer[a] = Arrays.copyOf(positions[a], length);
      for (int i = 0; i < more.length; i++) {
        longer[a][ids.length + i] = next + i;
      }
    }
    return new ModelInput(all, Arrays.copyOf(labels, length), images, longer, next + more.length);
  }
}
