package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.PackedDecoder;
import java.util.Arrays;
import java.util.stream.IntStream;

/**
 * A continuation on a packed decoder: the engine gives image rows and token embeddings, all else is
 * native. Nothing is padded, and finished sequences cost nothing.
 */
final class PackedContinuation implements Continuation {
  private final VisionLanguageModel model;
  private final int newTokens;
  private PackedDecoder.Session session;
  private int rows;
  private int[] lengths; // of the caches
  private int[] next; // positions

  /** The logits of all sequences, of one call after the other. */
  private float[] logits;

  PackedContinuation(VisionLanguageModel model, int newTokens) {
    this.model = model;
    this.newTokens = newTokens;
  }

  @Override
  public float[] start(Batch batch) {
    model.checks().batch(batch);
    lengths = batch.lengths().clone();
    next = batch.next().clone();
    int prompts = batch.size();
    int all = Arrays.stream(lengths).sum();
    rows = Math.min(Generator.PROMPT_ROWS, Math.max(all, prompts));
    session =
        model
            .packed()
            .open(
                new PackedDecoder.Limits(
                    prompts, batch.length() + newTokens, rows, model.kvBits()));
    int width = model.config().text().width();
    float[] x = embeddings(batch);
    int[] slots = new int[all];
    int[] places = new int[all];
    int[] last = new int[prompts];
    int at = 0;
    for (int b = 0; b < prompts; b++) {
      for (int p = 0; p < lengths[b]; p++, at++) {
        slots[at] = b;
        places[at] = p;
      }
      last[b] = at - 1;
    }
    Rope rope = model.decoder().rope();
    forward(slots, places, x, row -> turn(rope, batch.positions(), slots[row], places[row]));
    float[] states = new float[prompts * width];
    for (int b = 0; b < prompts; b++) {
      System.arraycopy(x, last[b] * width, states, b * width, width);
    }
    logits = new float[Math.multiplyExact(prompts, model.config().vocab())];
    logits(states);
    return logits;
  }

  @Override
  public float[] next(int[] tokens) {
    int[] alive = IntStream.range(0, tokens.length).filter(b -> tokens[b] != NONE).toArray();
    long[] ids = Arrays.stream(alive).mapToLong(b -> tokens[b]).toArray();
    int[] places = Arrays.stream(alive).map(b -> lengths[b]++).toArray();
    Positions positions = Positions.single(Arrays.stream(alive).map(b -> next[b]++).toArray());
    float[] x;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      x = floats(model.weights().embeddings(ids));
    }
    Rope rope = model.decoder().rope();
    forward(alive, places, x, row -> turn(rope, positions, row, 0));
    logits(x);
    // The logits of the sequences that go on lie one behind the other; each moves to its place.
    int vocab = model.config().vocab();
    for (int i = alive.length - 1; i >= 0; i--) {
      System.arraycopy(logits, i * vocab, logits, alive[i] * vocab, vocab);
    }
    return logits;
  }

  /** Embeddings [rows, width] of all prompts without padding, one behind the other. */
  private float[] embeddings(Batch batch) {
    int width = model.config().text().width();
    try (NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      float[] visual =
          batch.images().isEmpty()
              ? new float[0]
              : floats(Ops.scoped(() -> model.visualRows(manager, batch.images())));
      long[] flat =
          IntStream.range(0, batch.size())
              .mapToObj(b -> Arrays.copyOf(batch.ids()[b], lengths[b]))
              .flatMapToLong(Arrays::stream)
              .toArray();
      float[] x = floats(model.weights().embeddings(flat));
      int[] starts = new int[batch.size()];
      for (int b = 1; b < starts.length; b++) {
        starts[b] = starts[b - 1] + lengths[b - 1];
      }
      for (Batch.Place p : batch.places()) {
        int at = starts[p.example()] + p.start();
        System.arraycopy(visual, p.row() * width, x, at * width, p.tokens() * width);
      }
      return x;
    }
  }

  private static float[] floats(NDArray array) {
    return EngineArrays.cast(array, ai.djl.ndarray.types.DataType.FLOAT32).toFloatArray();
  }

  /** Cosines, then sines of a token's angles, by its number in the call. */
  @FunctionalInterface
  private interface Turn {
    float[] of(int row);
  }

  private void forward(int[] slots, int[] places, float[] x, Turn turn) {
    int width = model.config().text().width();
    for (int from = 0; from < slots.length; from += rows) {
      int to = Math.min(slots.length, from + rows);
      int[] at = Arrays.copyOfRange(places, from, to);
      float[] part = Arrays.copyOfRange(x, from * width, to * width);
      session.forward(Arrays.copyOfRange(slots, from, to), at, rope(turn, from, to), part);
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
  private float[] rope(Turn turn, int from, int to) {
    int dim = model.config().text().headDim();
    float[] out = new float[(to - from) * dim];
    for (int i = from; i < to; i++) {
      System.arraycopy(turn.of(i), 0, out, (i - from) * dim, dim);
    }
    return out;
  }

  private static float[] turn(Rope rope, Positions positions, int example, int token) {
    int half = rope.inverse().length;
    float[] out = new float[2 * half];
    for (int k = 0; k < half; k++) {
      float angle = rope.angle(positions, example, token, k);
      out[k] = (float) Math.cos(angle);
      out[half + k] = (float) Math.sin(angle);
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
