package io.gracebeam.worker.kernels;

/** Products as plain loops on one thread; dense ones sum in double precision. */
final class ScalarProducts implements ProductKernels {
  @Override
  public void matmul(float[] x, int m, PackedWeight w, float[] y) {
    w.checkProduct("matmul", x, m, y);
    int cols = w.cols();
    int run = w.run();
    RoundedInputs inputs = RoundedInputs.of(x, m, cols, run);
    byte[] codes = w.unpack();
    for (int i = 0; i < m; i++) {
      for (int r = 0; r < w.rows(); r++) {
        float sum = 0;
        for (int k = 0; k < inputs.runs(); k++) {
          int dot = 0;
          int all = 0;
          for (int c = k * run; c < (k + 1) * run; c++) {
            dot += codes[r * cols + c] * inputs.codes()[i * cols + c];
            all += inputs.codes()[i * cols + c];
          }
          int group = (r * cols + k * run) / w.groupSize();
          dot -= w.zero(group) * all;
          float scale = w.scales()[group];
          sum = Math.fma((float) dot, scale * inputs.scales()[i * inputs.runs() + k], sum);
        }
        y[i * w.rows() + r] = sum;
      }
    }
  }

  @Override
  public PackedMatrix open(PackedWeight w) {
    return new HeapMatrix(this, w);
  }

  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    checkDense(x, m, w, rows, cols, y);
    for (int i = 0; i < m; i++) {
      for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < cols; c++) {
          sum += (double) x[i * cols + c] * w[r * cols + c];
        }
        y[i * rows + r] = (float) sum;
      }
    }
  }

  static void checkDense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    String where = "dense";
    Checks.notNegative(where, "m", m);
    Checks.positive(where, "rows", rows);
    Checks.positive(where, "cols", cols);
    Checks.atLeast(where, "w", w.length, Checks.product(where, rows, cols));
    Checks.atLeast(where, "x", x.length, Checks.product(where, m, cols));
    Checks.atLeast(where, "y", y.length, Checks.product(where, m, rows));
    Checks.finite(where, "x", x, 0, m * cols);
    Checks.finite(where, "w", w, 0, rows * cols);
  }

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    Checks.length("dequantize", "out", out.length, w.rows() * w.cols());
    int perRow = Packing.wordsPerRow(w.cols(), w.bits());
    for (int r = 0; r < w.rows(); r++) {
      for (int c = 0; c < w.cols(); c++) {
        int i = r * w.cols() + c;
        int group = i / w.groupSize();
        int code = Packing.code(w.words(), r * perRow, c, w.bits());
        out[i] = (code - w.zero(group)) * w.scales()[group];
      }
    }
  }
}
