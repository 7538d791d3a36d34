package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.ForkJoinPool;
import java.util.function.IntConsumer;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * Kernels on the Vector API. A packed weight is unpacked in blocks of output rows, and each block
 * serves all input rows.
 *
 * <p>Bits of all but products with packed weights (which are the same everywhere) are the same for
 * any number of threads and any m on machines of one vector width ({@link #describe}): every sum
 * has one accumulator per lane, and lanes are added in ascending order (the reduction of the Vector
 * API leaves its order open).
 */
public final class VectorKernels implements Kernels {
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final int LANES = F.length();
  private static final int BLOCK = PackedBlock.ROWS;
  private static final int CHUNK = 1 << 14;
  private static final long WORTH = 1 << 16;

  /**
   * Adding and taking away 1.5 * 2^23 rounds a float below 2^22 in magnitude to the nearest
   * integer, ties to even.
   */
  private static final float MAGIC = 12582912f;

  private final ForkJoinPool pool;

  /** Kernels on a pool of their own with that many threads. */
  public VectorKernels(int threads) {
    this(Parallel.pool(threads));
  }

  VectorKernels(ForkJoinPool pool) {
    this.pool = pool;
  }

  @Override
  public String name() {
    return "vector";
  }

  /** Vector width and number of threads. */
  public String describe() {
    return LANES + " float lanes, " + pool.getParallelism() + " thread(s)";
  }

  @Override
  public String identity() {
    return "vector of " + LANES;
  }

  @Override
  public void matmul(float[] x, int m, PackedWeight w, float[] y) {
    w.checkProduct("matmul", x, m, y);
    int cols = w.cols();
    RoundedInputs inputs = RoundedInputs.of(x, m, cols, w.run());
    float[] high = inputs.part(true);
    float[] low = inputs.part(false);
    run(
        (long) Math.max(1, m) * w.rows() * cols,
        (w.rows() + BLOCK - 1) / BLOCK,
        b -> new PackedBlock(w, b * BLOCK).multiply(inputs, high, low, m, y));
  }

  @Override
  public void dense(float[] x, int m, float[] w, int rows, int cols, float[] y) {
    ScalarKernels.checkDense(x, m, w, rows, cols, y);
    run(
        (long) m * rows * cols,
        (rows + BLOCK - 1) / BLOCK,
        b -> {
          int from = b * BLOCK;
          block(x, m, w, from * cols, Math.min(BLOCK, rows - from), cols, y, from, rows);
        });
  }

  private void run(long work, int blocks, IntConsumer body) {
    Parallel.run(pool, work > WORTH, blocks, body);
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
    float sum = sum(a, lanes);
    for (int c = from; c < cols; c++) {
      sum = Math.fma(x[xo + c], w[wo + c], sum);
    }
    return sum;
  }

  private static float sum(FloatVector a, float[] lanes) {
    a.intoArray(lanes, 0);
    float sum = 0f;
    for (int l = 0; l < LANES; l++) {
      sum += lanes[l];
    }
    return sum;
  }

  @Override
  public void dequantize(PackedWeight w, float[] out) {
    Checks.length("dequantize", "out", out.length, w.rows() * w.cols());
    run(
        out.length,
        (w.rows() + BLOCK - 1) / BLOCK,
        b -> {
          for (int r = b * BLOCK; r < Math.min(w.rows(), (b + 1) * BLOCK); r++) {
            PackedBlock.unpackRow(w, r, true, out, r * w.cols());
          }
        });
  }

  @Override
  public void fakeQuantize(
      float[] w, float[] theta, int rows, int cols, QuantSpec spec, float[] out) {
    int n = spec.check("fakeQuantize", w, theta, rows, cols);
    Checks.length("fakeQuantize", "out", out.length, n);
    float[] s = LogScaleQuantizer.scales(theta);
    int seg = spec.segment(cols);
    float low = -spec.qn();
    float high = spec.qp();
    run(
        n,
        rows,
        r -> {
          for (int from = r * cols; from < (r + 1) * cols; from += seg) {
            float scale = s[spec.perTensor() ? 0 : from / seg];
            int end = from + F.loopBound(seg);
            for (int i = from; i < end; i += LANES) {
              // Clipping to integers first is the same as rounding first.
              FloatVector q =
                  FloatVector.fromArray(F, w, i)
                      .div(scale)
                      .max(low)
                      .min(high)
                      .add(MAGIC)
                      .sub(MAGIC);
              q.mul(scale).intoArray(out, i);
            }
            for (int i = end; i < from + seg; i++) {
              out[i] = (LogScaleQuantizer.code(w[i], scale, -spec.qn(), spec.qp()) + 0f) * scale;
            }
          }
        });
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
    segments(w, s, dWhat, rows, cols, spec, dW, ds);
    for (int k = 0; k < s.length; k++) {
      dTheta[k] = (float) (thetaFactor * s[k] * ds[k]);
    }
  }

  @Override
  public double quantizerGradient(
      float[] w,
      float[] scales,
      MemorySegment g,
      int rows,
      int cols,
      QuantSpec spec,
      float[] dTheta) {
    float[] own = g.toArray(ValueLayout.JAVA_FLOAT);
    float[] dW = new float[own.length];
    double[] ds = new double[scales.length];
    segments(w, scales, own, rows, cols, spec, dW, ds);
    for (int k = 0; k < ds.length; k++) {
      dTheta[k] = (float) (scales[k] * ds[k]);
    }
    return Checks.allFinite(own, 0, own.length) ? squares(MemorySegment.ofArray(dW)) : Double.NaN;
  }

  /** Gradients by the scales, and those that the mask lets pass. */
  private void segments(
      float[] w,
      float[] s,
      float[] dWhat,
      int rows,
      int cols,
      QuantSpec spec,
      float[] dW,
      double[] ds) {
    int seg = spec.segment(cols);
    int perRow = cols / seg;
    double[] own = spec.perTensor() ? new double[rows * perRow] : ds;
    run(
        w.length,
        rows,
        r -> {
          float[] lanes = new float[LANES];
          for (int k = 0; k < perRow; k++) {
            int id = r * perRow + k;
            own[id] =
                segment(w, s[spec.perTensor() ? 0 : id], dWhat, id * seg, seg, spec, dW, lanes);
          }
        });
    if (spec.perTensor()) {
      ds[0] = 0;
      for (double d : own) {
        ds[0] += d;
      }
    }
  }

  private static double segment(
      float[] w,
      float s,
      float[] dWhat,
      int from,
      int n,
      QuantSpec spec,
      float[] dW,
      float[] lanes) {
    float low = -spec.qn();
    float high = spec.qp();
    double total = 0;
    int end = from + F.loopBound(n);
    int i = from;
    while (i < end) {
      // Float sums of at most 1024 elements, added up in double.
      FloatVector acc = FloatVector.zero(F);
      int stop = Math.min(end, i + 1024);
      for (; i < stop; i += LANES) {
        FloatVector u = FloatVector.fromArray(F, w, i).div(s);
        FloatVector d = FloatVector.fromArray(F, dWhat, i);
        FloatVector r = u.max(low - 1f).min(high + 1f).add(MAGIC).sub(MAGIC);
        VectorMask<Float> in =
            r.compare(VectorOperators.GE, low).and(r.compare(VectorOperators.LE, high));
        FloatVector q = r.max(low).min(high);
        acc = d.fma(q.sub(u, in), acc);
        FloatVector.zero(F).blend(d, in).intoArray(dW, i);
      }
      total += sum(acc, lanes);
    }
    for (; i < from + n; i++) {
      float u = w[i] / s;
      float r = (float) Math.rint(u);
      boolean in = r >= low && r <= high;
      float q = Math.max(low, Math.min(high, r));
      total += (double) dWhat[i] * (in ? q - u : q);
      dW[i] = in ? dWhat[i] : 0f;
    }
    return total;
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
    AdamW.Factors f = AdamW.factors(AdamW.check(p, g, m, v, lr, b1, b2, eps, decay, t, gradScale));
    run(
        p.length,
        (p.length + CHUNK - 1) / CHUNK,
        b -> {
          int from = b * CHUNK;
          int to = Math.min(p.length, from + CHUNK);
          // The last vector of the array is masked, so every element sees the same operations.
          for (int i = from; i < to; i += LANES) {
            VectorMask<Float> in = F.indexInRange(i, to);
            FloatVector gi = FloatVector.fromArray(F, g, i, in).mul(f.gradScale());
            FloatVector mi = FloatVector.fromArray(F, m, i, in).mul(f.b1()).add(gi.mul(f.rest1()));
            FloatVector vi =
                FloatVector.fromArray(F, v, i, in).mul(f.b2()).add(gi.mul(gi).mul(f.rest2()));
            FloatVector step = mi.mul(f.rate()).div(vi.sqrt().mul(f.root()).add(f.eps()));
            FloatVector.fromArray(F, p, i, in).mul(f.keep()).sub(step).intoArray(p, i, in);
            mi.intoArray(m, i, in);
            vi.intoArray(v, i, in);
          }
        });
  }
}
