package io.gracebeam.worker.kernels;

import java.util.concurrent.ForkJoinPool;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * Products on the Vector API. A packed weight is unpacked in blocks of output rows, and each block
 * serves all input rows.
 */
final class VectorProducts implements ProductKernels {
  private static final VectorSpecies<Float> F = VectorLanes.SPECIES;
  private static final int LANES = F.length();
  private static final int BLOCK = PackedBlock.ROWS;

  private final ForkJoinPool pool;

  VectorProducts(ForkJoinPool pool) {
    this.pool = pool;
  }

  @Override
  public void matmul(float[] x, int m, PackedWeight w, float[] y) {
    w.checkProduct("matmul", x, m, y);
    int cols = w.cols();
    RoundedInputs inputs = RoundedInputs.of(x, m, cols, w.run());
    float[] high = inputs.part(true);
    float[] low = inputs.part(false);
    VectorLanes.run(
        pool,
        (long) Math.max(1, m) * w.rows() * cols,
        (w.rows() + BLOCK - 1) / BLOCK,
        b -> new PackedBlock(w, b * BLOCK).multiply(inputs, high, low, m, y));
  }

  @Override
  public PackedMatrix open(PackedWeight w) {
    return new HeapMatrix(this, w);
  }

  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    ScalarProducts.checkDense(x, m, w, rows, cols, y);
    VectorLanes.run(
        pool,
        (long) m * rows * cols,
        (rows + BLOCK - 1) / BLOCK,
        b -> {
          int from = b * BLOCK;
          block(x, m, w, from * cols, Math.min(BLOCK, rows - from), cols, y, from, rows);
        });
  }

  /**
   * Products of n rows of w (from offset) with all m inputs; the order of each sum depends on cols
   * alone.
   */
  private static void block(
      float[] x, int m, float[] w, int offset, int n, int cols, float[] y, int first, int stride) {
    float[] lanes = new float[LANES];
    int quads = n / 4 * 4;
    int i = 0;
    for (; i + 2 <= m; i += 2) {
      for (int r = 0; r < quads; r += 4) {
        dot8(x, i * cols, w, offset + r * cols, cols, lanes, y, i * stride + first + r, stride);
      }
    }
    for (; i < m; i++) {
      for (int r = 0; r < quads; r += 4) {
        dot4(x, i * cols, w, offset + r * cols, cols, lanes, y, i * stride + first + r);
      }
    }
    for (int r = quads; r < n; r++) {
      for (int k = 0; k < m; k++) {
        y[k * stride + first + r] = dot(x, k * cols, w, offset + r * cols, cols, lanes);
      }
    }
  }

  /** Two inputs by four rows of w; each of the eight sums is that of {@link #dot}. */
  private static void dot8(
      float[] x,
      int xo,
      float[] w,
      int wo,
      int cols,
      float[] lanes,
      float[] y,
      int yo,
      int stride) {
    FloatVector a0 = FloatVector.zero(F);
    FloatVector a1 = a0;
    FloatVector a2 = a0;
    FloatVector a3 = a0;
    FloatVector b0 = a0;
    FloatVector b1 = a0;
    FloatVector b2 = a0;
    FloatVector b3 = a0;
    int x1 = xo + cols;
    int w1 = wo + cols;
    int w2 = w1 + cols;
    int w3 = w2 + cols;
    int end = F.loopBound(cols);
    for (int c = 0; c < end; c += LANES) {
      FloatVector u = FloatVector.fromArray(F, x, xo + c);
      FloatVector v = FloatVector.fromArray(F, x, x1 + c);
      FloatVector r0 = FloatVector.fromArray(F, w, wo + c);
      a0 = u.fma(r0, a0);
      b0 = v.fma(r0, b0);
      FloatVector r1 = FloatVector.fromArray(F, w, w1 + c);
      a1 = u.fma(r1, a1);
      b1 = v.fma(r1, b1);
      FloatVector r2 = FloatVector.fromArray(F, w, w2 + c);
      a2 = u.fma(r2, a2);
      b2 = v.fma(r2, b2);
      FloatVector r3 = FloatVector.fromArray(F, w, w3 + c);
      a3 = u.fma(r3, a3);
      b3 = v.fma(r3, b3);
    }
    y[yo] = finish(a0, lanes, x, xo, w, wo, end, cols);
    y[yo + 1] = finish(a1, lanes, x, xo, w, w1, end, cols);
    y[yo + 2] = finish(a2, lanes, x, xo, w, w2, end, cols);
    y[yo + 3] = finish(a3, lanes, x, xo, w, w3, end, cols);
    int second = yo + stride;
    y[second] = finish(b0, lanes, x, x1, w, wo, end, cols);
    y[second + 1] = finish(b1, lanes, x, x1, w, w1, end, cols);
    y[second + 2] = finish(b2, lanes, x, x1, w, w2, end, cols);
    y[second + 3] = finish(b3, lanes, x, x1, w, w3, end, cols);
  }

  private static void dot4(
      float[] x, int xo, float[] w, int wo, int cols, float[] lanes, float[] y, int yo) {
    FloatVector a0 = FloatVector.zero(F);
    FloatVector a1 = a0;
    FloatVector a2 = a0;
    FloatVector a3 = a0;
    int w1 = wo + cols;
    int w2 = w1 + cols;
    int w3 = w2 + cols;
    int end = F.loopBound(cols);
    for (int c = 0; c < end; c += LANES) {
      FloatVector v = FloatVector.fromArray(F, x, xo + c);
      a0 = v.fma(FloatVector.fromArray(F, w, wo + c), a0);
      a1 = v.fma(FloatVector.fromArray(F, w, w1 + c), a1);
      a2 = v.fma(FloatVector.fromArray(F, w, w2 + c), a2);
      a3 = v.fma(FloatVector.fromArray(F, w, w3 + c), a3);
    }
    y[yo] = finish(a0, lanes, x, xo, w, wo, end, cols);
    y[yo + 1] = finish(a1, lanes, x, xo, w, w1, end, cols);
    y[yo + 2] = finish(a2, lanes, x, xo, w, w2, end, cols);
    y[yo + 3] = finish(a3, lanes, x, xo, w, w3, end, cols);
  }

  private static float dot(float[] x, int xo, float[] w, int wo, int cols, float[] lanes) {
    FloatVector a = FloatVector.zero(F);
    int end = F.loopBound(cols);
    for (int c = 0; c < end; c += LANES) {
      a = FloatVector.fromArray(F, x, xo + c).fma(FloatVector.fromArray(F, w, wo + c), a);
    }
    return finish(a, lanes, x, xo, w, wo, end, cols);
  }

  private static float finish(
      FloatVector a, float[] lanes, float[] x, int xo, float[] w, int wo, int from, int cols) {
    float sum = VectorLanes.sum(a, lanes);
    for (int c = from; c < cols; c++) {
      sum = Math.fma(x[xo + c], w[wo + c], sum);
    }
    return sum;
  }

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    Checks.length("dequantize", "out", out.length, w.rows() * w.cols());
    VectorLanes.run(
        pool,
        out.length,
        (w.rows() + BLOCK - 1) / BLOCK,
        b -> {
          for (int r = b * BLOCK; r < Math.min(w.rows(), (b + 1) * BLOCK); r++) {
            PackedBlock.unpackRow(w, r, true, out, r * w.cols());
          }
        });
  }
}
