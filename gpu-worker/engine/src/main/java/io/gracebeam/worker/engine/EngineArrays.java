package io.gracebeam.worker.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;

/**
 * Arrays whose memory belongs to the engine.
 *
 * <p>{@link NDManager#create(float[], Shape)} of DJL's PyTorch engine lends the tensor a Java
 * buffer: autograd may still read it after the array is closed, when the buffer is gone, and its
 * alignment differs from run to run, which changes the order of vectorised sums. A copy has neither
 * fault.
 */
public final class EngineArrays {
  private EngineArrays() {}

  /** Copies the values, row-major, into engine memory of the manager. */
  public static NDArray of(NDManager manager, float[] values, Shape shape) {
    try (NDArray lent = manager.create(values, shape)) {
      return lent.duplicate();
    }
  }

  /**
   * x times a constant. {@link NDArray#mul(Number)} lends the constant from Java memory, which the
   * backward pass then reads after it is gone.
   */
  public static NDArray scale(NDArray x, float factor) {
    try (NDArray constant = of(x.getManager(), new float[] {factor}, new Shape(1))) {
      return x.mul(constant);
    }
  }

  /** Copies the values into a vector in engine memory of the manager. */
  public static NDArray of(NDManager manager, long[] values) {
    try (NDArray lent = manager.create(values)) {
      return lent.duplicate();
    }
  }
}
