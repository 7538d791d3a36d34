package io.gracebeam.worker.engine;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.norm.LayerNorm;
import io.gracebeam.proto.artifact.Digests;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Random;

/**
 * The bits that an engine gives for fixed numbers, hashed: products of several sizes, sums,
 * functions and attention. Versions and instruction sets alone do not say how an engine rounds:
 * OpenBLAS and MKL go by the processor's model, and environment variables such as OPENBLAS_CORETYPE
 * and ATEN_CPU_CAPABILITY choose other code, so that the same work would get other bytes under the
 * same stage key.
 */
final class Fingerprint {
  /** Rows, inner and columns of products: of single kernels, and beyond a library's blocks. */
  private static final int[][] PRODUCTS = {
    {1, 7, 5}, {3, 64, 64}, {1, 520, 130}, {33, 300, 65}, {65, 1100, 40}, {130, 513, 257}
  };

  private static final Shape TABLE = new Shape(67, 1003);
  private static final int HEADS = 4;
  private static final int GROUPED = 2;
  private static final int WIDTH = 32;

  private final NDManager manager;
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final Random random = new Random(1); // java.util's algorithm is part of its contract

  private Fingerprint(NDManager manager) {
    this.manager = manager;
  }

  /** The hash as 16 hexadecimal digits, of float32 and of the type that is computed in. */
  static String of(Engine engine, Device device, DataType compute) {
    try (NDManager manager = engine.newBaseManager(device);
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      Fingerprint f = new Fingerprint(manager);
      f.add(DataType.FLOAT32);
      if (compute != DataType.FLOAT32) {
        f.add(compute);
      }
      return Digests.sha256(f.bytes.toByteArray()).substring(0, 16);
    }
  }

  private void add(DataType type) {
    for (int[] size : PRODUCTS) {
      NDArray a = numbers(type, size[0], size[1]);
      NDArray b = numbers(type, size[1], size[2]);
      NDArray c = a.matMul(b);
      // The last two are the products of a backward pass.
      add(List.of(c, c.matMul(b.transpose()), a.transpose().matMul(c)));
    }
    NDArray x = numbers(type, TABLE.getShape());
    add(List.of(x.sum(), x.sum(new int[] {0}), x.mean(new int[] {1}), x.softmax(-1), x.exp()));
    add(List.of(x.tanh(), x.getNDArrayInternal().sigmoid(), x.abs().sqrt(), EngineArrays.silu(x)));
    NDArray weight = numbers(type, TABLE.get(1));
    add(List.of(EngineArrays.rmsNorm(x, weight, 1e-5f), x.getNDArrayInternal().gelu()));
    Shape last = new Shape(TABLE.get(1));
    NDArray bias = numbers(type, TABLE.get(1));
    add(List.of(LayerNorm.layerNorm(x, last, weight, bias, 1e-5f).singletonOrThrow()));
    NDArray q = numbers(type, 1, HEADS, TABLE.get(0), WIDTH);
    NDArray k = numbers(type, 1, GROUPED, TABLE.get(0), WIDTH);
    NDArray v = numbers(type, 1, GROUPED, TABLE.get(0), WIDTH);
    add(List.of(EngineArrays.attention(q, k, v, null)));
  }

  /** From -0.5 to 0.5. */
  private NDArray numbers(DataType type, long... shape) {
    float[] values = new float[(int) new Shape(shape).size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextFloat() - 0.5f;
    }
    return EngineArrays.of(manager, values, new Shape(shape), type);
  }

  private void add(List<NDArray> results) {
    for (NDArray result : results) {
      float[] values = EngineArrays.floats(result, null);
      ByteBuffer bits = ByteBuffer.allocate(Float.BYTES * values.length);
      for (float value : values) {
        bits.putInt(Float.floatToIntBits(value));
      }
      bytes.writeBytes(bits.array());
    }
  }
}
