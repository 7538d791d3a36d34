package io.gracebeam.worker.kernels;

/**
 * A packed weight in the form that some kernels multiply with; made by {@link ProductKernels#open}.
 * Can be used by several threads at once.
 */
public interface PackedMatrix extends AutoCloseable {
  /**
   * y = x w^T, see {@link ProductKernels#matmul}.
   *
   * @param x input [m, cols], finite
   * @param y output [m, rows], overwritten
   * @throws IllegalArgumentException for a wrong length or a number that is not finite; y is then
   *     as it was
   */
  void multiply(float[] x, int m, float[] y);

  /** Bytes of memory that it takes. */
  long bytes();

  /** Frees the memory; no product may be running or follow. */
  @Override
  void close();
}
