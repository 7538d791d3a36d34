package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.training.GradientCollector;

/** A pass that the engine recorded as a whole. */
record GraphPass(NDArray rows, NDArray visualStates) implements TrainingPass {
  @Override
  public void backward(GradientCollector collector, NDArray dRows, NDArray dStates) {
    collector.backward(seed(rows, dRows, visualStates, dStates));
  }

  /** A scalar whose gradients with respect to x and y are dx and dy; dy may be null. */
  static NDArray seed(NDArray x, NDArray dx, NDArray y, NDArray dy) {
    NDArray sum = x.mul(dx).sum();
    return dy == null ? sum : sum.add(y.mul(dy).sum());
  }
}
