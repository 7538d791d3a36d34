package io.gracebeam.worker.kernels;

/**
 * Plain loops on one thread with sums in double precision: the oracle that the fast kernels are
 * tested against.
 */
public final class ScalarKernels implements Kernels {
  /** Creates the oracle; it has no state. */
  public ScalarKernels() {}

  @Override
  public String name() {
    return "scalar";
  }

  @Override
  public String identity() {
    return name();
  }

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
          for (int c = k * run; c < (k + 1) * run; c++) {
            dot += codes[r * cols + c] * inputs.codes()[i * cols + c];
          }
          float scale = w.scales()[(r * cols + k * run) / w.groupSize()];
          sum = Math.fma((float) dot, scale * inputs.scales()[i * inputs.runs() + k], sum);
        }
        y[i * w.rows() + r] = sum;
      }
    }
  }

  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    checkDense(x, m, w, rows, cols, y);
    product(x, m, w, rows, cols, y);
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

  private static void product(float[] x, int m, float[] w, int rows, int cols, float[] y) {
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

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    Checks.length("dequantize", "out", out.length, w.rows() * w.cols());
    int perRow = Packing.wordsPerRow(w.cols(), w.bits());
    for (int r = 0; r < w.rows(); r++) {
      for (int c = 0; c < w.cols(); c++) {
        int i = r * w.cols() + c;
        out[i] = Packing.code(w.words(), r * perRow, c, w.bits()) * w.scales()[i / w.groupSize()];
      }
    }
  }

  @Override
  public void fakeQuantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec, float[] out) {
    int n = spec.check("fakeQuantize", w, theta, rows, cols);
    Checks.length("fakeQuantize", "out", out.length, n);
    float[] s = LogScaleQuantizer.scales(theta);
    int g = spec.groupSize();
    for (int i = 0; i < n; i++) {
      // + 0f turns a negative zero code into zero
      out[i] = (LogScaleQuantizer.code(w[i], s[i / g], -spec.qn(), spec.qp()) + 0f) * s[i / g];
    }
  }

  @Override
  public void lsqGradient(
      float[] w,
      float[] theta,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    LsqGradient.check("lsqGradient", w, theta, dWhat, rows, cols, spec, thetaFactor, dW, dTheta);
    float[] s = LogScaleQuantizer.scales(theta);
    double[] ds = new double[s.length];
    int g = spec.groupSize();
    for (int i = 0; i < w.length; i++) {
      float u = w[i] / s[i / g];
      float r = (float) Math.rint(u);
      boolean in = r >= -spec.qn() && r <= spec.qp();
      float q = Math.max(-spec.qn(), Math.min(spec.qp(), r));
      ds[i / g] += (double) dWhat[i] * (in ? q - u : q);
      dW[i] = in ? dWhat[i] : 0f;
    }
    for (int k = 0; k < s.length; k++) {
      dTheta[k] = (float) (thetaFactor * s[k] * ds[k]);
    }
  }

  @Override
  public void adamW(
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
      float gradScale) {
    AdamW.check(p, g, m, v, lr, b1, b2, eps, decay, t, gradScale);
    double c1 = 1 - StrictMath.pow(b1, t);
    double c2 = Math.sqrt(1 - StrictMath.pow(b2, t));
    for (int i = 0; i < p.length; i++) {
      double gi = (double) g[i] * gradScale;
      m[i] = (float) (b1 * m[i] + (1 - b1) * gi);
      v[i] = (float) (b2 * v[i] + (1 - b2) * gi * gi);
      p[i] = (float) (p[i] * (1 - lr * decay) - lr / c1 * m[i] / (Math.sqrt(v[i]) / c2 + eps));
    }
  }
}
