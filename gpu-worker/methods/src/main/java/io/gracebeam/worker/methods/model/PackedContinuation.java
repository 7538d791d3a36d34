package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.PackedDecoder;
import java.util.Arrays;

/**
 * A continuation on a packed decoder: the engine gives image rows and token embeddings, all else is
 * native. Nothing is padded, and finished sequences cost nothing.
 */
final class PackedContinuation implements Continuation {
  private final LlavaModel model;
  private final int newTokens;
  private PackedDecoder.Session session;
  private int rows;
  private int[] lengths;

  /** The logits of all sequences, of one call after the other. */
  private float[] logits;

  PackedContinuation(LlavaModel model, int newTokens) {
    this.model = model;
    this.newTokens = newTokens;
  }

  @Override
  public float[] start(float[] pixels, int[] imageOf, long[][] ids) {
    lengths = Arrays.stream(ids).mapToInt(row -> row.length).toArray();
    int longest = Arrays.stream(lengths).max().orElseThrow();
    int all = Arrays.stream(lengths).sum();
    for (int b = 0; b < ids.length; b++) {
      model.checks().tokens(b, ids[b], true);
    }
    rows = Math.min(Generator.PROMPT_ROWS, Math.max(all, ids.length));
    session =
        model
            .packed()
            .open(new PackedDecoder.Limits(ids.length, longest + newTokens, rows, model.kvBits()));
    int width = model.config().text().width();
    float[] x = embeddings(pixels, imageOf, ids, all);
    int[] slots = new int[all];
    int[] positions = new int[all];
    int[] last = new int[ids.length];
    int at = 0;
    for (int b = 0; b < ids.length; b++) {
      for (int p = 0; p < lengths[b]; p++, at++) {
        slots[at] = b;
        positions[at] = p;
      }
      last[b] = at - 1;
    }
    forward(slots, positions, x);
    float[] states = new float[ids.length * width];
    for (int b = 0; b < ids.length; b++) {
      System.arraycopy(x, last[b] * width, states, b * width, width);
    }
    logits = new float[Math.multiplyExact(ids.length, model.config().vocab())];
    logits(states);
    return logits;
  }

  @Override
  public float[] next(int[] tokens) {
    int[] alive =
        java.util.stream.IntStream.range(0, tokens.length).filter(b -> tokens[b] != NONE).toArray();
    long[] ids = Arrays.stream(alive).mapToLong(b -> tokens[b]).toArray();
    int[] positions = Arrays.stream(alive).map(b -> lengths[b]++).toArray();
    float[] x;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      x = floats(model.decoder().embeddings(ids));
    }
    forward(alive, positions, x);
    logits(x);
    // Behind each other are those of the sequences that go on; each moves up to its place.
    int vocab = model.config().vocab();
    for (int i = alive.length - 1; i >= 0; i--) {
      System.arraycopy(logits, i * vocab, logits, alive[i] * vocab, vocab);
    }
    return logits;
  }

  /** Embeddings [rows, width] of all prompts, one behind the other. */
  private float[] embeddings(float[] pixels, int[] imageOf, long[][] ids, int all) {
    LlavaConfig config = model.config();
    int width = config.text().width();
    int n = config.imageTokens();
    int size = config.vision().imageSize();
    int unique = Arrays.stream(imageOf).max().orElseThrow() + 1;
    try (NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray images = EngineArrays.of(manager, pixels, new Shape(unique, 3, size, size));
      model.checks().pixels(images);
      float[] visual = floats(Ops.scoped(() -> model.visualRows(images)));
      long[] flat = Arrays.stream(ids).flatMapToLong(Arrays::stream).toArray();
      float[] x = floats(model.decoder().embeddings(flat));
      int at = 0;
      for (int b = 0; b < ids.length; b++) {
        int image = 0;
        for (int p = 0; p < ids[b].length; p++, at++) {
          if (ids[b][p] == config.imageToken()) {
            System.arraycopy(visual, (imageOf[b] * n + image++) * width, x, at * width, width);
          }
        }
      }
      return x;
    }
  }

  private static float[] floats(NDArray array) {
    return EngineArrays.cast(array, ai.djl.ndarray.types.DataType.FLOAT32).toFloatArray();
  }

  private void forward(int[] slots, int[] positions, float[] x) {
    int width = model.config().text().width();
    for (int from = 0; from < slots.length; from += rows) {
      int to = Math.min(slots.length, from + rows);
      int[] at = Arrays.copyOfRange(positions, from, to);
      float[] part = Arrays.copyOfRange(x, from * width, to * width);
      session.forward(Arrays.copyOfRange(slots, from, to), at, rope(at), part);
      System.arraycopy(part, 0, x, from * width, part.length);
    }
  }

  private void logits(float[] states) {
    int width = model.config().text().width();
    int vocab = model.config().vocab();
    int count = states.length / width;
    for (int from = 0; from < count; from += rows) {
      int to = Math.min(count, from + rows);
      session.logits(Arrays.copyOfRange(states, from * width, to * width), logits, from * vocab);
    }
  }

  /** Cosines and sines [rows, 2, headDim / 2]. */
  private float[] rope(int[] positions) {
    int dim = model.config().text().headDim();
    float[] inverse = model.decoder().inverseFrequencies();
    float[] out = new float[positions.length * dim];
    for (int i = 0; i < positions.length; i++) {
      for (int k = 0; k < inverse.length; k++) {
        float angle = positions[i] * inverse[k];
        out[i * dim + k] = (float) Math.cos(angle);
        out[i * dim + inverse.length + k] = (float) Math.sin(angle);
      }
    }
    return out;
  }

  @Override
  public void close() {
    if (session != null) {
      session.close();
    }
  }
}
