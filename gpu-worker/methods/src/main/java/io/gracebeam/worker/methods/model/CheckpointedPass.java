package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.training.GradientCollector;
import java.util.function.Supplier;

/**
 * A pass whose graph is cut in front of each decoder block: what goes in is a leaf, and the block's
 * own graph is dropped at once and recorded again in the backward pass, which goes block by block.
 * The gradients are sums of the same terms in the same order as without cuts, so they have the same
 * bits. Vision tower and embeddings are recorded once and kept.
 */
final class CheckpointedPass implements TrainingPass {
  private final DecoderPass pass;
  private final NDArray visual; // rows of the vision tower, recorded; null without images
  private final NDArray deepRows; // a leaf; null where no block is given rows of its own
  private final NDArray embedded;
  private final NDArray[] leaves; // inputs of the blocks, and of the final norm
  private final NDArray rows;
  private final NDArray visualStates;

  CheckpointedPass(VisionLanguageModel model, NDManager owner, Batch batch) {
    this.pass = new DecoderPass(model, batch);
    int layers = model.config().text().layers();
    this.visual =
        batch.images().isEmpty() ? null : Ops.scoped(() -> model.visualRows(owner, batch.images()));
    boolean deep = visual != null && model.tower().deepRows() > 0;
    this.deepRows = deep ? visual.stopGradient() : null;
    this.embedded = pass.embed(visual);
    this.leaves = new NDArray[layers + 1];
    leaves[0] = embedded.stopGradient();
    for (int i = 0; i < layers; i++) {
      leaves[i + 1] = output(leaves[i], i);
    }
    if (deep) {
      deepRows.setRequiresGradient(true);
    }
    this.visualStates = visual == null ? null : pass.visualStates(leaves[layers - 1]);
    leaves[layers].setRequiresGradient(true);
    this.rows = pass.rows(leaves[layers], model.decoder()::norm);
  }

  /** A block's output without its graph. */
  private NDArray output(NDArray x, int layer) {
    try (NDArray y = pass.block(x, layer, deepRows)) {
      return y.stopGradient();
    }
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
    int last = leaves.length - 1;
    NDArray d = gradient(collector, last, () -> GraphPass.seed(rows, dRows, null, null));
    for (int i = last - 1; i >= 0; i--) {
      int layer = i;
      NDArray dOut = d;
      leaves[i].setRequiresGradient(true);
      d =
          gradient(
              collector,
              i,
              () -> {
                // In the order of a whole pass, which decides the order of sums.
                boolean visual = layer == last - 1 && dStates != null;
                NDArray states = visual ? pass.visualStates(leaves[layer]) : null;
                NDArray y = pass.block(leaves[layer], layer, deepRows);
                return GraphPass.seed(y, dOut, states, visual ? dStates : null);
              });
      dOut.close();
    }
    NDArray dEmbedded = d;
    Ops.scoped(
        () -> {
          NDArray dVisual = deepRows == null ? null : deepRows.getGradient();
          return backward(collector, GraphPass.seed(embedded, dEmbedded, visual, dVisual));
        });
  }

  /** Runs the backward pass of a part and drops it; the gradient with respect to its leaf. */
  private NDArray gradient(GradientCollector collector, int leaf, Supplier<NDArray> seed) {
    NDArray out =
        Ops.scoped(
            () -> {
              backward(collector, seed.get());
              return leaves[leaf].getGradient();
            });
    leaves[leaf].close();
    return out;
  }

  private static NDArray backward(GradientCollector collector, NDArray seed) {
    collector.backward(seed);
    return seed;
  }
}
