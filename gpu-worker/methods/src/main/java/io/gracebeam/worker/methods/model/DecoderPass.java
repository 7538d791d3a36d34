package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.Arrays;
import java.util.function.UnaryOperator;

/** The decoder's parts over given sequences without a cache, one call each. */
final class DecoderPass {
  private final Decoder decoder;
  private final LlavaConfig config;
  private final NDManager manager;
  private final InputIds inputs;
  private Decoder.Rotary rotary; // null until the first block
  private NDArray mask;

  DecoderPass(LlavaModel model, InputIds inputs) {
    this.decoder = model.decoder();
    this.config = model.config();
    this.manager = model.manager();
    this.inputs = inputs;
  }

  /** Input of the first block, [B, S, d]; visual rows [B * n, d] or null. */
  NDArray embed(NDArray visual) {
    return Ops.scoped(() -> decoder.embed(inputs.ids(), visual));
  }

  /** The first call makes positions and mask, which belong to the NDScope that is open then. */
  NDArray block(NDArray x, int layer) {
    if (rotary == null) {
      int[] positions = new int[inputs.length()];
      Arrays.setAll(positions, i -> i);
      rotary = decoder.rotary(new int[][] {positions});
      mask = decoder.causalMask(inputs.length());
    }
    return Ops.scoped(() -> decoder.block(x, layer, rotary, mask, null));
  }

  /** States at the visual positions in float32, [B, n, d]. */
  NDArray visualStates(NDArray x) {
    long[][] ids = inputs.ids();
    int n = config.imageTokens();
    int length = inputs.length();
    long[] at = new long[ids.length * n];
    int next = 0;
    for (int b = 0; b < ids.length; b++) {
      for (int s = 0; s < length; s++) {
        if (ids[b][s] == config.imageToken()) {
          at[next++] = (long) b * length + s;
        }
      }
    }
    return Ops.scoped(
        () ->
            EngineArrays.cast(
                Ops.rows(manager, x.reshape(-1, config.text().width()), at)
                    .reshape(ids.length, n, config.text().width()),
                DataType.FLOAT32));
  }

  /** The wanted rows of the last block's output, and what is done to them. */
  NDArray rows(NDArray x, UnaryOperator<NDArray> end) {
    return Ops.scoped(
        () -> end.apply(Ops.rows(manager, x.reshape(-1, config.text().width()), inputs.wanted())));
  }
}
