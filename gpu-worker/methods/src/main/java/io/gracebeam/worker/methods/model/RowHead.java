package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.GradientCollector;
import io.gracebeam.worker.engine.EngineArrays;
import java.lang.foreign.MemorySegment;
import java.util.function.Consumer;

/**
 * The output head with its loss, some rows at a time: logits z = h W^T become their gradient D
 * where they lie, which gives dh = D W and dW += D^T h. So there are never more logits than a
 * bound, and no graph over them.
 */
public final class RowHead {
  /** Part of the memory for products that are added to dW. */
  private static final int PARTS = 8;

  /** Turns logits [count, vocab] (float32) of rows from {@code first} on into their gradient. */
  @FunctionalInterface
  public interface RowLoss {
    /** Called with ascending rows; the memory is valid until it returns. */
    void apply(MemorySegment logits, int first, int count);
  }

  private final NDArray weight;
  private final long vocab;

  /** Of a weight [vocab, d]. */
  public RowHead(NDArray weight) {
    this.weight = weight;
    this.vocab = weight.getShape().get(0);
  }

  /** To be called before the first {@link #backward} after the weight was made or replaced. */
  public void open(GradientCollector collector) {
    EngineArrays.defineGradient(collector, weight);
  }

  /**
   * Adds dW to the weight's gradient, in its own type, if it wants one.
   *
   * @param hidden [R, d]; what it was computed from stays untouched
   * @param bytes bound of the memory for logits, their gradient and parts of dW; at least one row
   *     is computed at a time
   * @return gradient with respect to hidden, [R, d]
   */
  public NDArray backward(NDArray hidden, long bytes, RowLoss loss) {
    return Ops.scoped(
        () -> {
          NDArray states = hidden.stopGradient();
          NDArray table = weight.stopGradient();
          int rows = (int) hidden.getShape().get(0);
          int step = (int) Math.max(1, Math.min(rows, bytes / PARTS * (PARTS - 1) / rowBytes()));
          if (step == rows) {
            return chunk(states, table, bytes / PARTS, logits -> loss.apply(logits, 0, rows));
          }
          // Nothing that a chunk makes stays: it would keep the next one out of the memory.
          NDArray out = hidden.getManager().create(hidden.getShape(), hidden.getDataType());
          for (int first = 0; first < rows; first += step) {
            int from = first;
            int count = Math.min(step, rows - first);
            try (NDScope scope = new NDScope()) {
              scope.suppressNotUsedWarning();
              NDArray d =
                  chunk(
                      rows(states, from, count),
                      table,
                      bytes / PARTS,
                      logits -> loss.apply(logits, from, count));
              out.set(new NDIndex().addSliceDim(from, from + count), d);
            }
          }
          return out;
        });
  }

  /** Of a row's logits: float32, and beside it a narrower type that products need. */
  private long rowBytes() {
    int type = weight.getDataType().getNumOfBytes();
    return vocab * (type == Float.BYTES ? type : Float.BYTES + type);
  }

  private NDArray chunk(NDArray states, NDArray table, long bytes, Consumer<MemorySegment> loss) {
    NDArray d = gradient(states, table, loss);
    if (weight.hasGradient()) {
      addGradient(d, states, bytes);
    }
    return d.matMul(table);
  }

  private static NDArray gradient(NDArray states, NDArray table, Consumer<MemorySegment> loss) {
    return Ops.scoped(
        () -> {
          NDArray logits = Ops.linear(states, table, null);
          NDArray wide = EngineArrays.cast(logits, DataType.FLOAT32);
          if (wide != logits) {
            logits.close();
          }
          EngineArrays.update(wide, loss);
          return EngineArrays.cast(wide, table.getDataType());
        });
  }

  /** dW += D^T h, some rows of W at a time. */
  private void addGradient(NDArray d, NDArray states, long bytes) {
    long rowBytes = states.getShape().get(1) * states.getDataType().getNumOfBytes();
    long step = Math.max(1, Math.min(vocab, bytes / rowBytes));
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray sum = weight.getGradient();
      for (long from = 0; from < vocab; from += step) {
        long count = Math.min(step, vocab - from);
        try (NDArray columns = d.get(new NDIndex().addAllDim().addSliceDim(from, from + count));
            NDArray transposed = columns.transpose();
            NDArray part = transposed.matMul(states);
            NDArray target = rows(sum, from, count)) {
          target.addi(part);
        }
      }
    }
  }

  private static NDArray rows(NDArray x, long from, long count) {
    return x.get(new NDIndex().addSliceDim(from, from + count));
  }
}
