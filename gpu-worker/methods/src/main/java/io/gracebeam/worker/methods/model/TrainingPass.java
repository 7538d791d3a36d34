package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.training.GradientCollector;

/**
 * A forward pass up to the head, and its backward pass. Arrays belong to the owner that the pass
 * was given and to the NDScope that was open around the call, if any; both stay open until the
 * backward pass.
 */
public interface TrainingPass {
  /** What the head turns into logits, in the model's compute type: [R, d]. */
  NDArray rows();

  /**
   * Output of the penultimate decoder block at the visual positions of all images, [visual tokens,
   * d]; null without images.
   */
  NDArray visualStates();

  /**
   * Adds the parameters' gradients; once.
   *
   * @param dRows gradient with respect to the rows, of their type
   * @param dStates gradient with respect to the visual states; null for none
   */
  void backward(GradientCollector collector, NDArray dRows, NDArray dStates);
}
