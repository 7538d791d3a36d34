package io.gracebeam.worker.kernels;

/**
 * The kernels that exist in several versions: {@link ScalarKernels} (plain loops, the oracle),
 * {@link VectorKernels} and {@link NativeKernels}. All are deterministic, and a row of a product
 * does not depend on the number of rows that are multiplied together.
 */
public interface Kernels {
  /** Short name: {@code scalar}, {@code vector} or {@code native}. */
  String name();

  /** What may change a result's bits: equal texts mean equal results. */
  String identity();

  /**
   * Product with a packed weight: y[i, r] = sum over c of x[i, c] * w[r, c], with inputs rounded to
   * 16 bits run by run (absmax / 32639 of at most 128 inputs that share a scale), exact integer
   * sums in a run, and one fused multiply-add in float32 for each run, in ascending order. All
   * versions give the same bits.
   *
   * @param x input [m, w.cols()]
   * @param m input rows, at least 0
   * @param y output [m, w.rows()], overwritten
   */
  void matmul(float[] x, int m, PackedWeight w, float[] y);

  /** The weight in the form that these kernels multiply with fastest. */
  default PackedMatrix open(PackedWeight w) {
    return new PackedMatrix() {
      @Override
      public void multiply(float[] x, int m, float[] y) {
        matmul(x, m, w, y);
      }

      @Override
      public long bytes() {
        return w.bytes();
      }

      @Override
      public void close() {}
    };
  }

  /**
   * Product with a dense weight w [rows, cols]: y[i, r] = sum over c of x[i, c] * w[r, c]; x [m,
   * cols], y [m, rows].
   */
  void dense(float[] x, int m, float[] w, int rows, int cols, float[] y);

  /** Writes the dequantised weight [rows, cols]; both versions give the same bits. */
  void dequantize(PackedWeight w, float[] out);

  /** See {@link LogScaleQuantizer#fakeQuantize}; both versions give the same bits. */
  void fakeQuantize(float[] w, float[] theta, int rows, int cols, QuantSpec spec, float[] out);

  /** See {@link LsqGradient}. */
  void lsqGradient(
      float[] w,
      float[] theta,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      double thetaFactor,
      float[] dW,
      float[] dTheta);

  /** See {@link AdamW#step}. */
  void adamW(
      float[] p,
      float[] g,
      float[] m,
      float[] v,
      double lr,
      double b1,
      double b2,
      double eps,
      double decay,
      int t,
      float gradScale);
}
