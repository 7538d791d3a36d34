package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;

/**
 * Result of one pass. The arrays belong to the owner that the pass was given and to the NDScope
 * that was open around the call, if any.
 *
 * @param logits [R, vocab]: the asked rows of example 0 in order, then those of example 1, ...
 * @param visualStates output of the penultimate decoder block at the visual positions of all
 *     images, [visual tokens, d], in order of the batch's places; null without images
 */
public record Forward(NDArray logits, NDArray visualStates) implements AutoCloseable {
  @Override
  public void close() {
    logits.close();
    if (visualStates != null) {
      visualStates.close();
    }
  }
}
