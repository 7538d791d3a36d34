package io.gracebeam.worker.kernels;

/**
 * Matrix products. A row of a product does not depend on the number of rows that are multiplied
 * together.
 */
public interface ProductKernels {
  /**
   * Product with a packed weight: y[i, r] = sum over c of x[i, c] * w[r, c], with inputs rounded to
   * 16 bits run by run (absmax / 32639 of at most 128 inputs that share a scale), exact integer
   * sums in a run, and one fused multiply-add in float32 for each run, in ascending order. All
   * implementations give the same bits.
   *
   * @param x input [m, w.cols()]
   * @param m input rows, at least 0
   * @param y output [m, w.rows()], overwritten
   */
  void matmul(float[] x, int m, PackedWeight w, float[] y);

  /** The weight in the form that these kernels multiply with fastest. */
  PackedMatrix open(PackedWeight w);

  /**
   * Product with a dense weight w [rows, cols]: y[i, r] = sum over c of x[i, c] * w[r, c]; x [m,
   * cols], y [m, rows].
   */
  void dense(float[] x, int m, float[] w, int rows, int cols, float[] y);

  /** Writes the dequantized weight [rows, cols]; all implementations give the same bits. */
  void dequantize(PackedWeight w, float[] out);
}
