package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.training.GradientCollector;

/**
 * A pass up to the head, and its way back. Arrays belong to the manager of the pass's pixels
 * (without pixels: to the model's) and to the NDScope that was open around the call, if any; both
 * stay open until the way back.
 */
public interface TrainingPass {
  /** What the head turns into logits, in the model's compute type: [R, d]. */
  NDArray rows();

  /** Output of the penultimate decoder block at the visual positions, [B, n, d]; may be null. */
  NDArray visualStates();

  /**
   * Adds the parameters' gradients; once.
   *
   * @param dRows gradient by the rows, of their type
   * @param dStates gradient by the visual states; null for none
   */
  void backward(GradientCollector collector, NDArray dRows, NDArray dStates);
}
