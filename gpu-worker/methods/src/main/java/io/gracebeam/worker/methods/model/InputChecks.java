package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import java.util.Arrays;

/** Whether pixels, ids and rows fit a model and each other. */
final class InputChecks {
  private final LlavaConfig config;

  InputChecks(LlavaConfig config) {
    this.config = config;
  }

  /** All of a pass's inputs; see {@link LlavaModel#forward}. */
  InputIds inputs(NDArray pixels, long[][] ids, int[][] rows) {
    int length = ids(pixels, ids);
    return new InputIds(ids, flatRows(rows, ids.length, length));
  }

  void pixels(NDArray pixels) {
    int size = config.vision().imageSize();
    Shape shape = pixels.getShape();
    if (shape.dimension() != 4
        || shape.get(1) != 3
        || shape.get(2) != size
        || shape.get(3) != size) {
      throw GraceException.data("pixels have shape %s; allowed: (B, 3, %d, %d)", shape, size, size);
    }
  }

  /** Placeholders of one example are as many as an image gives; all rows are equally long. */
  int ids(NDArray pixels, long[][] ids) {
    if (ids.length == 0 || ids[0].length == 0) {
      throw GraceException.bug("a pass over no tokens was asked for");
    }
    if (pixels != null) {
      pixels(pixels);
      if (pixels.getShape().get(0) != ids.length) {
        throw GraceException.data(
            "%d images for %d examples; allowed: one each", pixels.getShape().get(0), ids.length);
      }
    }
    int length = ids[0].length;
    if (length > config.text().maxPositions()) {
      throw GraceException.data(
          "a sequence has %d tokens; allowed: at most max_position_embeddings %d",
          length, config.text().maxPositions());
    }
    for (int b = 0; b < ids.length; b++) {
      if (ids[b].length != length) {
        throw GraceException.bug(
            "example %d has %d ids and example 0 has %d; pad them", b, ids[b].length, length);
      }
      tokens(b, ids[b], pixels != null);
    }
    return length;
  }

  /** Ids are in the vocabulary, and one example's placeholders as many as its image gives. */
  void tokens(int example, long[] ids, boolean image) {
    int placeholders = 0;
    for (long id : ids) {
      if (id < 0 || id >= config.vocab()) {
        throw GraceException.data(
            "example %d holds token %d; the vocabulary has %d", example, id, config.vocab());
      }
      placeholders += id == config.imageToken() ? 1 : 0;
    }
    int expected = image ? config.imageTokens() : 0;
    if (placeholders != expected) {
      throw GraceException.data(
          "example %d has %d image tokens but its image gives %d", example, placeholders, expected);
    }
  }

  private static long[] flatRows(int[][] rows, int batch, int length) {
    if (rows.length != batch) {
      throw GraceException.bug("rows of %d examples for a batch of %d", rows.length, batch);
    }
    long[] out = new long[Arrays.stream(rows).mapToInt(row -> row.length).sum()];
    if (out.length == 0) {
      throw GraceException.bug("a pass without any wanted row was asked for");
    }
    int next = 0;
    for (int b = 0; b < batch; b++) {
      for (int row : rows[b]) {
        if (row < 0 || row >= length) {
          throw GraceException.bug("row %d of a sequence of %d was asked for", row, length);
        }
        out[next++] = (long) b * length + row;
      }
    }
    return out;
  }
}
