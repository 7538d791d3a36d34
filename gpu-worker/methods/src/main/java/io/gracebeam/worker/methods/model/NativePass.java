package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.training.GradientCollector;
import java.util.function.Supplier;

/**
 * A pass whose blocks are the native kernels'; the engine records what is around them: embeddings
 * of patches and tokens, projector, final norm. So its graph is cut in front of and behind each row
 * of blocks.
 */
final class NativePass implements TrainingPass {
  private final NativeBlocks blocks;
  private final boolean checkpoints;
  private final NativeTower tower; // null without images, and where the engine runs the tower
  private final NDArray embedded; // input of the decoder's blocks, recorded
  private final NDArray[] states; // inputs of the decoder's blocks, and their output
  private final NDArray rows;
  private final NDArray penultimate; // a leaf
  private final NDArray visualStates;

  /**
   * Runs the pass.
   *
   * @param checkpoints whether decoder blocks are run again in the backward pass, so that no more
   *     than one keeps its state
   */
  NativePass(
      VisionLanguageModel model,
      NativeBlocks blocks,
      NDManager owner,
      Batch batch,
      boolean checkpoints) {
    this.blocks = blocks;
    this.checkpoints = checkpoints;
    DecoderPass pass = new DecoderPass(model, batch);
    int layers = model.config().text().layers();
    boolean images = !batch.images().isEmpty();
    this.tower =
        images && model.tower().nativeVision().isPresent()
            ? new NativeTower(model, blocks, owner, batch.images())
            : null;
    NDArray visual =
        tower != null
            ? Ops.scoped(tower::projected)
            : images ? Ops.scoped(() -> model.visualRows(owner, batch.images())) : null;
    this.embedded = pass.embed(visual);
    this.states = new NDArray[layers + 1];
    states[0] = embedded.stopGradient();
    for (int i = 0; i < layers; i++) {
      states[i + 1] = blocks.decoder(i, checkpoints).forward(states[i]);
    }
    this.penultimate = visual == null ? null : leaf(states[layers - 1].stopGradient());
    this.visualStates = visual == null ? null : pass.visualStates(penultimate);
    this.rows = pass.rows(leaf(states[layers]), model.decoder()::norm);
  }

  private static NDArray leaf(NDArray x) {
    x.setRequiresGradient(true);
    return x;
  }

  @Override
  public NDArray rows() {
    return rows;
  }

  @Override
  public NDArray visualStates() {
    return visualStates;
  }

  @Override
  public void backward(GradientCollector collector, NDArray dRows, NDArray dStates) {
    int last = states.length - 1;
    NDArray d = gradient(collector, states[last], () -> GraphPass.seed(rows, dRows, null, null));
    for (int i = last - 1; i >= 0; i--) {
      NativeBlocks.Block block = blocks.decoder(i, checkpoints);
      if (checkpoints && i < last - 1) {
        block.forward(states[i]).close();
      }
      d = replaced(d, block.backward(states[i], d));
      if (i == last - 1 && dStates != null) {
        try (NDArray more =
            gradient(
                collector, penultimate, () -> GraphPass.seed(visualStates, dStates, null, null))) {
          d = replaced(d, d.add(more));
        }
      }
      states[i + 1].close();
    }
    run(collector, embedded, d);
    d.close();
    if (tower != null) {
      tower.backward(collector);
    }
  }

  /** The second, in the place of the first. */
  private static NDArray replaced(NDArray old, NDArray made) {
    old.close();
    return made;
  }

  /** Runs the backward pass of a recorded part from the gradient with respect to its output. */
  static void run(GradientCollector collector, NDArray output, NDArray d) {
    Ops.scoped(
        () -> {
          NDArray seed = GraphPass.seed(output, d, null, null);
          collector.backward(seed);
          return seed;
        });
  }

  /** Runs the backward pass of a recorded part; the gradient with respect to its leaf. */
  private static NDArray gradient(
      GradientCollector collector, NDArray leaf, Supplier<NDArray> seed) {
    return Ops.scoped(
        () -> {
          collector.backward(seed.get());
          return leaf.getGradient();
        });
  }
}
