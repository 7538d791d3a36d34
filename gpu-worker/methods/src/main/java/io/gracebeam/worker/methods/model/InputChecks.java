package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import io.gracebeam.proto.error.GraceException;
import java.util.Arrays;
import java.util.List;

/** Whether a batch fits a model. */
final class InputChecks {
  private final ModelConfig config;

  InputChecks(ModelConfig config) {
    this.config = config;
  }

  /**
   * Checks tokens, places of images, and wanted rows.
   *
   * @throws GraceException data, for a sequence that is too long, a token outside of the
   *     vocabulary, or placeholders that do not fit the images; bug, for a batch that contradicts
   *     itself
   */
  void batch(Batch batch) {
    if (batch.size() == 0 || batch.length() == 0) {
      throw GraceException.bug("a pass over no tokens was asked for");
    }
    if (batch.length() > config.text().maxPositions()) {
      throw GraceException.data(
          "a sequence has %d tokens; allowed: at most max_position_embeddings %d",
          batch.length(), config.text().maxPositions());
    }
    Positions positions = batch.positions();
    if (positions.length() != batch.length()
        || (positions.rows() != 1 && positions.rows() != batch.size())) {
      throw GraceException.bug(
          "positions of %d x %d tokens for a batch of %d x %d",
          positions.rows(), positions.length(), batch.size(), batch.length());
    }
    int[] visual = new int[batch.size()];
    for (Batch.Place place : batch.places()) {
      visual[place.example()] += place.tokens();
    }
    for (int b = 0; b < batch.size(); b++) {
      if (batch.ids()[b].length != batch.length()) {
        throw GraceException.bug(
            "example %d has %d ids and example 0 has %d; pad them",
            b, batch.ids()[b].length, batch.length());
      }
      tokens(b, batch.ids()[b], visual[b]);
    }
    batch.places().forEach(place -> place(batch, place));
    rows(batch);
  }

  private void tokens(int example, long[] ids, int expected) {
    int placeholders = 0;
    for (long id : ids) {
      if (id < 0 || id >= config.vocab()) {
        throw GraceException.data(
            "example %d holds token %d; the vocabulary has %d", example, id, config.vocab());
      }
      placeholders += id == config.tokens().image() ? 1 : 0;
    }
    if (placeholders != expected) {
      throw GraceException.data(
          "example %d has %d image tokens but its images give %d", example, placeholders, expected);
    }
  }

  private void place(Batch batch, Batch.Place place) {
    int end = place.start() + place.tokens();
    boolean fits = place.start() >= 0 && end <= batch.lengths()[place.example()];
    for (int i = place.start(); fits && i < end; i++) {
      fits = batch.ids()[place.example()][i] == config.tokens().image();
    }
    if (!fits) {
      throw GraceException.data(
          "example %d has no %d image tokens from token %d on",
          place.example(), place.tokens(), place.start());
    }
  }

  private static void rows(Batch batch) {
    if (batch.rows().length != batch.size()) {
      throw GraceException.bug(
          "rows of %d examples for a batch of %d", batch.rows().length, batch.size());
    }
    if (Arrays.stream(batch.rows()).allMatch(row -> row.length == 0)) {
      throw GraceException.bug("a pass without any wanted row was asked for");
    }
    for (int[] own : batch.rows()) {
      for (int row : own) {
        if (row < 0 || row >= batch.length()) {
          throw GraceException.bug("row %d of a sequence of %d was asked for", row, batch.length());
        }
      }
    }
  }

  /**
   * Checks what the vision tower gave.
   *
   * @param times how often it gives a row for each visual token
   */
  void visualRows(NDArray rows, List<ModelImage> images, int times) {
    long expected = (long) times * images.stream().mapToInt(ModelImage::tokens).sum();
    if (rows.getShape().dimension() != 2
        || rows.getShape().get(0) != expected
        || rows.getShape().get(1) != config.text().width()) {
      throw GraceException.data(
          "the vision tower gives %s for %d images with visual tokens %s; expected (%d, %d)",
          rows.getShape(),
          images.size(),
          images.stream().map(ModelImage::tokens).toList(),
          expected,
          config.text().width());
    }
  }
}
