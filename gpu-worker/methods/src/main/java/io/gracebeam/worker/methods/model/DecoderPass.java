package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.Arrays;
import java.util.function.UnaryOperator;

/** The parts of a pass through the decoder over a whole batch, one call each. */
final class DecoderPass {
  private static final float MASKED = -1e30f;

  private final VisionLanguageModel model;
  private final NDManager manager;
  private final Batch batch;
  private final int width;
  private Decoder.Sequence sequence; // null until the first block

  DecoderPass(VisionLanguageModel model, Batch batch) {
    this.model = model;
    this.manager = model.manager();
    this.batch = batch;
    this.width = model.config().text().width();
  }

  /**
   * Input of the first block, [B, S, d]: token embeddings, with the tower's rows at the visual
   * positions.
   *
   * @param visual rows of all images; null without images
   */
  NDArray embed(NDArray visual) {
    return Ops.scoped(
        () -> {
          long[] tokens = Arrays.stream(batch.ids()).flatMapToLong(Arrays::stream).toArray();
          NDArray rows = model.weights().embeddings(tokens);
          if (visual != null) {
            long[] source = new long[tokens.length];
            Arrays.setAll(source, i -> i);
            for (Batch.Place p : batch.places()) {
              int at = p.example() * batch.length() + p.start();
              for (int i = 0; i < p.tokens(); i++) {
                source[at + i] = tokens.length + (long) p.row() + i;
              }
            }
            rows = Ops.rows(manager, NDArrays.concat(new NDList(rows, visual), 0), source);
          }
          return rows.reshape(batch.size(), batch.length(), width);
        });
  }

  /**
   * One block. The first call makes positions and mask, which belong to the NDScope that is open
   * then.
   *
   * @param visual rows of all images, for towers with rows for deeper blocks; null without images
   */
  NDArray block(NDArray x, int layer, NDArray visual) {
    return block(x, layer, visual, null);
  }

  /** One block that appends to a cache. */
  NDArray block(NDArray x, int layer, NDArray visual, KvCache cache) {
    if (sequence == null) {
      sequence = sequence(model, batch.positions(), causalMask(model, batch.length()));
    }
    return Ops.scoped(
        () -> {
          NDArray y = model.decoder().block(x, layer, sequence, cache);
          return visual == null || layer >= model.tower().deepRows()
              ? y
              : deepened(y, layer, visual);
        });
  }

  /** Adds the tower's rows for a block at the visual positions. */
  private NDArray deepened(NDArray x, int layer, NDArray visual) {
    long[] source = new long[batch.size() * batch.length()];
    long first = 1 + (1L + layer) * batch.visualRows();
    for (Batch.Place p : batch.places()) {
      int at = p.example() * batch.length() + p.start();
      for (int i = 0; i < p.tokens(); i++) {
        source[at + i] = first + p.row() + i;
      }
    }
    NDArray none = manager.zeros(new Shape(1, width), x.getDataType());
    NDArray rows = Ops.rows(manager, NDArrays.concat(new NDList(none, visual), 0), source);
    return x.add(rows.reshape(x.getShape()));
  }

  /** States at the visual positions in float32, [visual tokens of all places, d]. */
  NDArray visualStates(NDArray x) {
    return Ops.scoped(
        () ->
            EngineArrays.cast(
                Ops.rows(manager, x.reshape(-1, width), batch.visualPositions()),
                DataType.FLOAT32));
  }

  /** The wanted rows of the last block's output, and what is done to them. */
  NDArray rows(NDArray x, UnaryOperator<NDArray> end) {
    return Ops.scoped(() -> end.apply(Ops.rows(manager, x.reshape(-1, width), batch.wanted())));
  }

  /** Tables of cosines and sines for some positions, with a mask. */
  static Decoder.Sequence sequence(VisionLanguageModel model, Positions positions, NDArray mask) {
    Rope rope = model.decoder().rope();
    int half = rope.inverse().length;
    int dim = 2 * half;
    float[] cos = new float[positions.rows() * positions.length() * dim];
    float[] sin = new float[cos.length];
    int at = 0;
    for (int b = 0; b < positions.rows(); b++) {
      for (int s = 0; s < positions.length(); s++) {
        for (int i = 0; i < dim; i++) {
          float angle = rope.angle(positions, b, s, i % half);
          cos[at] = (float) Math.cos(angle);
          sin[at++] = (float) Math.sin(angle);
        }
      }
    }
    Shape shape = new Shape(positions.rows(), 1, positions.length(), dim);
    NDManager manager = model.manager();
    return new Decoder.Sequence(
        EngineArrays.of(manager, cos, shape, model.weights().compute()),
        EngineArrays.of(manager, sin, shape, model.weights().compute()),
        mask);
  }

  /**
   * Additive causal mask [1, 1, S, S]. Right padding needs no more: no token sees what is behind
   * it.
   */
  private static NDArray causalMask(VisionLanguageModel model, int length) {
    float[] mask = new float[length * length];
    for (int i = 0; i < length; i++) {
      Arrays.fill(mask, i * length + i + 1, (i + 1) * length, MASKED);
    }
    return EngineArrays.of(
        model.manager(), mask, new Shape(1, 1, length, length), model.weights().compute());
  }

  /**
   * Additive mask [B, 1, 1, keys] of one token behind each padded prompt: padding is hidden.
   *
   * @param longest tokens of the longest prompt
   */
  static NDArray paddingMask(VisionLanguageModel model, int[] lengths, int longest, int keys) {
    float[] mask = new float[lengths.length * keys];
    for (int b = 0; b < lengths.length; b++) {
      Arrays.fill(mask, b * keys + lengths[b], b * keys + longest, MASKED);
    }
    return EngineArrays.of(
        model.manager(), mask, new Shape(lengths.length, 1, 1, keys), model.weights().compute());
  }
}
