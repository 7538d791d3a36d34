package io.gracebeam.worker.methods.export;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.kernels.PackedMatrix;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.methods.model.DecoderNames;
import io.gracebeam.worker.methods.model.Weights;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** A product with a packed weight, on the kernels of this process: some rows of a {@link Stack}. */
final class PackedLinear implements Weights.Linear {
  private final Stack stack;
  private final int from;
  private final int rows;

  private PackedLinear(Stack stack, int from, int rows) {
    this.stack = stack;
    this.from = from;
    this.rows = rows;
  }

  /** Of a weight for itself, which is not needed afterwards. */
  static PackedLinear of(PackedWeight w) {
    return whole(KernelProvider.best().products().open(w), w.rows(), w.cols());
  }

  /** Those of a decoder and its head by canonical name, on the decoder's own weights. */
  static Map<String, PackedLinear> of(PackedDecoder decoder, DecoderNames names) {
    DecoderShape s = decoder.shape();
    int mixed = s.heads() * s.headDim();
    int keys = s.kvHeads() * s.headDim();
    Map<String, PackedLinear> out = new HashMap<>();
    for (int i = 0; i < s.layers(); i++) {
      Stack qkv =
          new Stack(decoder.matrix(i, PackedDecoder.Weight.QKV), mixed + 2 * keys, s.width());
      out.put(names.of(i, Parameter.QUERY), new PackedLinear(qkv, 0, mixed));
      out.put(names.of(i, Parameter.KEY), new PackedLinear(qkv, mixed, keys));
      out.put(names.of(i, Parameter.VALUE), new PackedLinear(qkv, mixed + keys, keys));
      out.put(
          names.of(i, Parameter.OUT),
          whole(decoder.matrix(i, PackedDecoder.Weight.OUT), s.width(), mixed));
      Stack gateUp =
          new Stack(decoder.matrix(i, PackedDecoder.Weight.GATE_UP), 2 * s.mlp(), s.width());
      out.put(names.of(i, Parameter.GATE), new PackedLinear(gateUp, 0, s.mlp()));
      out.put(names.of(i, Parameter.UP), new PackedLinear(gateUp, s.mlp(), s.mlp()));
      out.put(
          names.of(i, Parameter.DOWN),
          whole(decoder.matrix(i, PackedDecoder.Weight.DOWN), s.width(), s.mlp()));
    }
    out.put(names.head(), whole(decoder.head(), s.vocab(), s.width()));
    return out;
  }

  private static PackedLinear whole(PackedMatrix matrix, int rows, int cols) {
    return new PackedLinear(new Stack(matrix, rows, cols), 0, rows);
  }

  @Override
  public NDArray apply(NDArray x) {
    float[] y = stack.multiply(x.toFloatArray(), from, rows);
    long[] shape = x.getShape().getShape().clone();
    shape[shape.length - 1] = rows;
    return EngineArrays.of(x.getManager(), y, new Shape(shape), x.getDataType());
  }

  @Override
  public void close() {
    stack.matrix.close();
  }

  /**
   * Weights below each other. They take the same input one after the other: it is multiplied with
   * all of them at once, and what it gives is kept until the last of them was asked for.
   */
  private static final class Stack {
    private final PackedMatrix matrix;
    private final int rows;
    private final int cols;
    private float[] in;
    private float[] out;

    Stack(PackedMatrix matrix, int rows, int cols) {
      this.matrix = matrix;
      this.rows = rows;
      this.cols = cols;
    }

    /** x [m, cols] times some of the rows: [m, count]. */
    float[] multiply(float[] x, int from, int count) {
      int m = x.length / cols;
      if (in == null || !Arrays.equals(in, x)) {
        out = new float[Math.multiplyExact(m, rows)];
        matrix.multiply(x, m, out);
        in = x;
      }
      float[] y = out;
      if (count < rows) {
        y = new float[m * count];
        for (int i = 0; i < m; i++) {
          System.arraycopy(out, i * rows + from, y, i * count, count);
        }
      }
      if (from + count == rows) {
        in = null;
        out = null;
      }
      return y;
    }
  }
}
