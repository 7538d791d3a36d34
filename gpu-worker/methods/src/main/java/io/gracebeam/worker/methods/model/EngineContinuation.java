package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.Arrays;

/** A continuation on the tensor engine: prompts are padded to the longest, caches are arrays. */
final class EngineContinuation implements Continuation {
  private final LlavaModel model;
  private final int padId;
  private final NDManager manager;
  private final KvCache cache;
  private int[] lengths;
  private int longest;
  private int step;

  EngineContinuation(LlavaModel model, int padId) {
    this.model = model;
    this.padId = padId;
    this.manager = model.manager().newSubManager();
    this.cache = new KvCache(manager, model.config().text().layers());
  }

  @Override
  public float[] start(float[] pixels, int[] imageOf, long[][] prompts) {
    lengths = Arrays.stream(prompts).mapToInt(row -> row.length).toArray();
    longest = Arrays.stream(lengths).max().orElseThrow();
    long[][] ids = new long[prompts.length][];
    for (int b = 0; b < ids.length; b++) {
      ids[b] = Arrays.copyOf(prompts[b], longest);
      Arrays.fill(ids[b], lengths[b], longest, padId);
    }
    LlavaConfig config = model.config();
    int unique = Arrays.stream(imageOf).max().orElseThrow() + 1;
    int size = config.vision().imageSize();
    Decoder decoder = model.decoder();
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray images = EngineArrays.of(manager, pixels, new Shape(unique, 3, size, size));
      model.checks().pixels(images);
      int n = config.imageTokens();
      long[] which = new long[imageOf.length * n];
      Arrays.setAll(which, i -> (long) imageOf[i / n] * n + i % n);
      NDArray visual = Ops.scoped(() -> Ops.rows(model.manager(), model.visualRows(images), which));
      model.checks().ids(images.get(new NDIndex("0:1")).repeat(0, ids.length), ids);
      int[][] positions = new int[ids.length][longest];
      for (int[] row : positions) {
        Arrays.setAll(row, i -> i);
      }
      Decoder.Rotary rotary = decoder.rotary(positions);
      NDArray mask = decoder.causalMask(longest);
      long[] last = new long[ids.length];
      Arrays.setAll(last, b -> (long) b * longest + lengths[b] - 1);
      NDArray x = Ops.scoped(() -> decoder.embed(ids, visual));
      return finish(x, rotary, mask, last);
    }
  }

  @Override
  public float[] next(int[] tokens) {
    Decoder decoder = model.decoder();
    int batch = tokens.length;
    int keys = longest + step + 1;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      long[][] ids = new long[batch][1];
      int[][] positions = new int[batch][1];
      long[] last = new long[batch];
      float[] mask = new float[batch * keys];
      for (int b = 0; b < batch; b++) {
        ids[b][0] = tokens[b] == NONE ? padId : tokens[b];
        positions[b][0] = lengths[b] + step;
        last[b] = b;
        Arrays.fill(mask, b * keys + lengths[b], b * keys + longest, Decoder.MASKED);
      }
      step++;
      NDArray maskArray =
          EngineArrays.of(model.manager(), mask, new Shape(batch, 1, 1, keys), model.compute());
      NDArray x = Ops.scoped(() -> decoder.embed(ids, null));
      return finish(x, decoder.rotary(positions), maskArray, last);
    }
  }

  private float[] finish(NDArray start, Decoder.Rotary rotary, NDArray mask, long[] rows) {
    NDArray x = start;
    for (int i = 0; i < model.config().text().layers(); i++) {
      NDArray in = x;
      int layer = i;
      x = Ops.scoped(() -> model.decoder().block(in, layer, rotary, mask, cache));
      in.close();
    }
    NDArray last = x.reshape(-1, model.config().text().width());
    return Ops.scoped(() -> model.decoder().head(Ops.rows(model.manager(), last, rows)))
        .toFloatArray();
  }

  @Override
  public void close() {
    cache.close();
    manager.close();
  }
}
