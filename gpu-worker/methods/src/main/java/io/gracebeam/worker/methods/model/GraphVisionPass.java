package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.training.GradientCollector;

/** A pass of the tower that the engine recorded as a whole. */
record GraphVisionPass(NDArray features) implements VisionPass {
  @Override
  public void backward(GradientCollector collector) {
    // The collector's own pass went through the tower already.
  }
}
