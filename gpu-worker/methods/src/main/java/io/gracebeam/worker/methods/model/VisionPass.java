package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.training.GradientCollector;

/**
 * A pass of the vision tower for training. Arrays belong to the NDScope that was open around the
 * call, which stays open until the backward pass.
 */
public interface VisionPass {
  /** States of the feature layer in float32, [B, n, dv], to go on from. */
  NDArray features();

  /**
   * Adds the parameters' gradients; once, after the collector's own backward pass from what was
   * computed from the features.
   */
  void backward(GradientCollector collector);
}
