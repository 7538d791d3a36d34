package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.GradientCollector;
import io.gracebeam.worker.engine.EngineArrays;

/**
 * A pass of the vision tower whose blocks are the native kernels'. The graph is cut in front of and
 * behind them.
 */
final class NativeTower implements VisionPass {
  private final NativeBlocks blocks;
  private final boolean trained;
  private final NDArray patches; // input of the blocks, recorded
  private final NDArray[] states; // inputs of the blocks, and their output, a leaf
  private final NDArray selected;

  NativeTower(LlavaModel model, NativeBlocks blocks, NDArray pixels) {
    this.blocks = blocks;
    this.trained =
        model.parameters().entrySet().stream()
            .anyMatch(e -> e.getKey().startsWith(VisionTower.TOWER) && e.getValue().hasGradient());
    this.patches = model.tower().patches(pixels);
    this.states = new NDArray[model.config().visionBlocks() + 1];
    states[0] = patches.stopGradient();
    for (int i = 1; i < states.length; i++) {
      states[i] = blocks.tower(i - 1).forward(states[i - 1]);
    }
    NDArray last = states[states.length - 1];
    last.setRequiresGradient(trained);
    this.selected = model.tower().selected(last);
  }

  /** States of the feature layer in the compute type. */
  NDArray selected() {
    return selected;
  }

  @Override
  public NDArray features() {
    return EngineArrays.cast(selected, DataType.FLOAT32);
  }

  @Override
  public void backward(GradientCollector collector) {
    if (!trained) {
      return;
    }
    int last = states.length - 1;
    NDArray d = states[last].getGradient();
    for (int i = last - 1; i >= 0; i--) {
      NDArray dOut = d;
      d = blocks.tower(i).backward(states[i], dOut);
      dOut.close();
      states[i + 1].close();
    }
    NativePass.run(collector, patches, d);
    d.close();
  }
}
