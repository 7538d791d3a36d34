package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.GradientCollector;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.List;

/**
 * A pass of the vision tower whose blocks are the native kernels'. The graph is cut in front of and
 * behind them.
 */
final class NativeTower implements VisionPass {
  private final VisionLanguageModel model;
  private final List<ModelImage> images;
  private final VisionTower.NativeVision vision;
  private final NativeBlocks blocks;
  private final boolean trained;
  private final NDArray patches; // input of the blocks, recorded
  private final NDArray[] states; // inputs of the blocks, and their output, a leaf
  private final NDArray selected;

  NativeTower(
      VisionLanguageModel model, NativeBlocks blocks, NDManager owner, List<ModelImage> images) {
    this.model = model;
    this.images = images;
    this.vision = model.tower().nativeVision().orElseThrow();
    this.blocks = blocks;
    this.trained =
        model.parameters().entrySet().stream()
            .anyMatch(
                e ->
                    model.layout().get(e.getKey()).place().part() == Part.VISION
                        && e.getValue().hasGradient());
    this.patches = vision.input(owner, images);
    this.states = new NDArray[vision.blocks() + 1];
    states[0] = patches.stopGradient();
    for (int i = 1; i < states.length; i++) {
      states[i] = blocks.tower(i - 1).forward(states[i - 1]);
    }
    NDArray last = states[states.length - 1];
    last.setRequiresGradient(trained);
    this.selected = vision.selected(last);
  }

  /** Decoder inputs of the images. */
  NDArray projected() {
    NDArray rows = vision.project(selected);
    model.checks().visualRows(rows, images, 1);
    return rows;
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
