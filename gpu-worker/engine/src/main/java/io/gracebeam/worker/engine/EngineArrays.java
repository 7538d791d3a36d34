package io.gracebeam.worker.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.libtorch.LibTorchArray;
import io.gracebeam.worker.engine.libtorch.LibTorchOperators;

/**
 * What DJL's interface leaves to the engine: arrays whose memory is the engine's own, and fused
 * operators where the engine has them.
 *
 * <p>{@link NDManager#create(float[], Shape)} of DJL's PyTorch engine lends the tensor a Java
 * buffer: autograd may still read it after the array is closed, when the buffer is gone, and its
 * alignment differs from run to run, which changes the order of vectorised sums. A copy has neither
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
    made.set(java.nio.FloatBuffer.wrap(values));
    return made;
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

  /** x * sigmoid(x). */
  public static NDArray silu(NDArray x) {
    return x instanceof LibTorchArray
        ? x.getNDArrayInternal().swish(1)
        : x.mul(x.getNDArrayInternal().sigmoid());
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
