package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import java.util.Arrays;

/** A continuation on the tensor engine: prompts are padded to the longest, caches are arrays. */
final class EngineContinuation implements Continuation {
  private final VisionLanguageModel model;
  private final int padId;
  private final NDManager manager;
  private final KvCache cache;
  private Batch prompts;
  private int step;

  EngineContinuation(VisionLanguageModel model, int padId) {
    this.model = model;
    this.padId = padId;
    this.manager = model.manager().newSubManager();
    this.cache = new KvCache(manager, model.config().text().layers());
  }

  @Override
  public float[] start(Batch batch) {
    model.checks().batch(batch);
    prompts = batch;
    DecoderPass pass = new DecoderPass(model, batch);
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray visual =
          batch.images().isEmpty()
              ? null
              : Ops.scoped(() -> model.visualRows(manager, batch.images()));
      NDArray x = pass.embed(visual);
      for (int i = 0; i < model.config().text().layers(); i++) {
        NDArray in = x;
        x = pass.block(in, i, visual, cache);
        in.close();
      }
      return pass.rows(x, model.decoder()::logits).toFloatArray();
    }
  }

  @Override
  public float[] next(int[] tokens) {
    int longest = prompts.length();
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      long[] ids = Arrays.stream(tokens).mapToLong(t -> t == NONE ? padId : t).toArray();
      int[] positions = Arrays.stream(prompts.next()).map(p -> p + step).toArray();
      step++;
      NDArray mask = DecoderPass.paddingMask(model, prompts.lengths(), longest, longest + step);
      Decoder.Sequence sequence = DecoderPass.sequence(model, Positions.single(positions), mask);
      NDArray x =
          Ops.scoped(() -> model.weights().embeddings(ids).reshape(tokens.length, 1, width()));
      for (int i = 0; i < model.config().text().layers(); i++) {
        NDArray in = x;
        int layer = i;
        x = Ops.scoped(() -> model.decoder().block(in, layer, sequence, cache));
        in.close();
      }
      NDArray last = x;
      return Ops.scoped(() -> model.decoder().logits(last.reshape(-1, width()))).toFloatArray();
    }
  }

  private int width() {
    return model.config().text().width();
  }

  @Override
  public void close() {
    cache.close();
    manager.close();
  }
}
