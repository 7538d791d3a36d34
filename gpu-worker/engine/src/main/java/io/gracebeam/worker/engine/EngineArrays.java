package io.gracebeam.worker.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import io.gracebeam.worker.engine.libtorch.LibTorchArray;
import io.gracebeam.worker.engine.libtorch.LibTorchEngine;
import io.gracebeam.worker.engine.libtorch.LibTorchOperators;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.function.Consumer;

/**
 * What DJL's interface leaves to the engine: arrays whose memory is the engine's own, and fused
 * operators where the engine has them.
 *
 * <p>{@link NDManager#create(float[], Shape)} of DJL's PyTorch engine lends the tensor a Java
 * buffer: autograd may still read it after the array is closed, when the buffer is gone, and its
 * alignment differs from run to run, which changes the order of vectorized sums. A copy has neither
 * fault.
 */
public final class EngineArrays {
  private EngineArrays() {}

  /** Copies the values, row-major, into float32 engine memory of the manager. */
  public static NDArray of(NDManager manager, float[] values, Shape shape) {
    NDArray made = manager.create(values, shape);
    if (made instanceof LibTorchArray) {
      return made;
    }
    try (made) {
      return made.duplicate();
    }
  }

  /** Copies the values, rounded to the type, into engine memory of the manager. */
  public static NDArray of(NDManager manager, float[] values, Shape shape, DataType type) {
    if (type == DataType.FLOAT32) {
      return of(manager, values, shape);
    }
    NDArray made = manager.create(shape, type);
    made.set(FloatBuffer.wrap(values));
    return made;
  }

  /**
   * Overwrites an array's values, rounded to its type, outside of any graph.
   *
   * @return whether the engine can; if not, nothing was done
   */
  public static boolean overwrite(NDArray array, float[] values) {
    if (!(array instanceof LibTorchArray)) {
      return false;
    }
    array.set(java.nio.FloatBuffer.wrap(values));
    return true;
  }

  /** The values as float32: in `into` if it has as many elements, else in a new array. */
  public static float[] floats(NDArray array, float[] into) {
    if (into == null || into.length != array.size() || !(array instanceof LibTorchArray own)) {
      return array.toFloatArray();
    }
    own.read(into);
    return into;
  }

  /**
   * x times a constant. {@link NDArray#mul(Number)} of DJL's PyTorch engine lends the constant from
   * Java memory, which the backward pass then reads after it is gone.
   */
  public static NDArray scale(NDArray x, float factor) {
    if (x instanceof LibTorchArray) {
      return x.mul(factor);
    }
    try (NDArray constant = of(x.getManager(), new float[] {factor}, new Shape(1))) {
      return x.mul(constant);
    }
  }

  /** x in another type, differentiable; x itself where it has it already. */
  public static NDArray cast(NDArray x, DataType type) {
    return x.getDataType() == type ? x : x.toType(type, false);
  }

  /** x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019). */
  public static NDArray rmsNorm(NDArray x, NDArray weight, float eps) {
    if (x instanceof LibTorchArray own) {
      return LibTorchOperators.rmsNorm(own, weight, eps);
    }
    NDArray rms = x.mul(x).mean(new int[] {-1}, true).add(eps).sqrt();
    return x.div(rms).mul(weight);
  }

  /**
   * softmax(q k^T / sqrt(d) + mask) v for q [B, H, Sq, d], k and v [B, KV, Sk, d] with KV a divisor
   * of H, mask [B or 1, 1, Sq, Sk] or null -> [B, H, Sq, d]. As two products and a softmax where
   * the engine has no fused operator, queries of one key/value head together.
   */
  public static NDArray attention(NDArray q, NDArray k, NDArray v, NDArray mask) {
    if (q instanceof LibTorchArray own) {
      return LibTorchOperators.attention(own, k, v, mask);
    }
    long batch = q.getShape().get(0);
    long heads = q.getShape().get(1);
    long queries = q.getShape().get(2);
    long dim = q.getShape().get(3);
    long kvHeads = k.getShape().get(1);
    long keys = k.getShape().get(2);
    long rows = heads / kvHeads * queries;
    NDArray scores =
        scale(q, (float) (1.0 / Math.sqrt(dim)))
            .reshape(batch, kvHeads, rows, dim)
            .matMul(k.transpose(0, 1, 3, 2));
    if (mask != null) {
      scores =
          scores
              .reshape(batch, kvHeads, heads / kvHeads, queries, keys)
              .add(mask.reshape(mask.getShape().get(0), 1, 1, queries, keys))
              .reshape(batch, kvHeads, rows, keys);
    }
    return scores.softmax(-1).matMul(v).reshape(batch, heads, queries, dim);
  }

  /** x * sigmoid(x). */
  public static NDArray silu(NDArray x) {
    return x instanceof LibTorchArray
        ? x.getNDArrayInternal().swish(1)
        : x.mul(x.getNDArrayInternal().sigmoid());
  }

  /**
   * Lets the body change the values of a float32 array: where they lie, if that is CPU memory, else
   * in a copy that is written back. No operator that is recorded for gradients.
   *
   * @param x row-major, of at most 2 GiB
   * @param body gets the floats, valid until it returns
   */
  public static void update(NDArray x, Consumer<MemorySegment> body) {
    if (x.getDataType() != DataType.FLOAT32) {
      throw new IllegalArgumentException("an array of " + x.getDataType() + ", not float32");
    }
    if (x.getDevice().isGpu()) {
      float[] values = x.toFloatArray();
      body.accept(MemorySegment.ofArray(values));
      x.set(FloatBuffer.wrap(values));
    } else if (x instanceof LibTorchArray own) {
      own.update(body);
    } else {
      // A direct buffer is the tensor's own memory.
      ByteBuffer memory = x.toByteBuffer(true);
      if (!memory.isDirect()) {
        throw new IllegalStateException("the engine gave a copy instead of the array's memory");
      }
      body.accept(MemorySegment.ofBuffer(memory));
    }
  }

  /**
   * Makes what a leaf's {@code getGradient} gives the gradient itself. DJL's PyTorch engine makes
   * it in the leaf's first backward pass, and until then gives out zeros of which it keeps nothing.
   */
  public static void defineGradient(GradientCollector collector, NDArray leaf) {
    if (leaf instanceof LibTorchArray || !leaf.hasGradient()) {
      return;
    }
    try (NDArray sum = leaf.sum();
        NDArray zero = scale(sum, 0)) {
      collector.backward(zero);
    }
  }

  /**
   * Whether native kernels may work beside the engine, in the memory of its arrays; false for other
   * engines, devices and processors than they are made for.
   */
  public static boolean ownKernels(EngineHandle engine) {
    return engine.engine() instanceof LibTorchEngine
        && !engine.device().isGpu()
        && LibTorchEngine.ownKernels();
  }

  /**
   * Address of an array's values, row-major, which stay there while it is open; for arrays of an
   * engine that {@link #ownKernels} is there for.
   */
  public static long address(NDArray x) {
    return ((LibTorchArray) x).memory().address();
  }

  /**
   * The values of a float32 or bfloat16 array where they lie, row-major, which stay there while it
   * is open; null where native code cannot reach them: another engine, type or device, or a view
   * that is not row-major.
   */
  public static MemorySegment memory(NDArray x) {
    boolean known = x.getDataType() == DataType.FLOAT32 || x.getDataType() == DataType.BFLOAT16;
    return known && !x.getDevice().isGpu() && x instanceof LibTorchArray own && own.isContiguous()
        ? own.memory()
        : null;
  }

  /**
   * Address of a leaf's gradient, which becomes float32 whatever the leaf's type; 0 without one.
   */
  public static long gradientAddress(NDArray leaf) {
    try (LibTorchArray gradient = ((LibTorchArray) leaf).wideGradient()) {
      return gradient == null ? 0 : address(gradient);
    }
  }

  /** Copies the values into a vector in engine memory of the manager. */
  public static NDArray of(NDManager manager, long[] values) {
    NDArray made = manager.create(values);
    if (made instanceof LibTorchArray) {
      return made;
    }
    try (made) {
      return made.duplicate();
    }
  }
}
