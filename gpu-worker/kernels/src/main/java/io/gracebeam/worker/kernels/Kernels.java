package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

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

  /** Writes the dequantized weight [rows, cols]; both versions give the same bits. */
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

  /**
   * See {@link AdamW#step(AdamW.Settings, float[], MemorySegment, float[], float[], WeightCopy)}.
   */
  default void plainStep(
      AdamW.Settings s, float[] p, MemorySegment g, float[] m, float[] v, WeightCopy out) {
    float[] own = g.toArray(ValueLayout.JAVA_FLOAT);
    adamW(p, own, m, v, s.lr(), s.b1(), s.b2(), s.eps(), s.decay(), s.t(), s.gradScale());
    if (out != null) {
      Parallel.elements(p.length, i -> out.set(i, p[i]));
    }
  }

  // Arguments of what follows have been checked by the class that is named. Where nothing else is
  // said, sums of different versions may differ in their last bits.

  /**
   * See {@link LogScaleQuantizer#searchLogScales}: writes the scales; all versions give the same.
   */
  default void searchScales(float[] w, QuantSpec spec, float[] scales) {
    LogScaleQuantizer.searchInJava(w, spec, scales);
  }

  /** See {@link LogScaleQuantizer#scales}; all versions give the same. */
  default void scales(float[] theta, float[] scales) {
    LogScaleQuantizer.scalesInJava(theta, scales);
  }

  /** Codes of w in the words of {@link Packing}; all versions give the same. */
  default int[] packedCodes(float[] w, float[] scales, int rows, int cols, QuantSpec spec) {
    byte[] codes = new byte[w.length];
    int g = spec.groupSize();
    for (int i = 0; i < w.length; i++) {
      codes[i] = (byte) LogScaleQuantizer.code(w[i], scales[i / g], -spec.qn(), spec.qp());
    }
    return Packing.pack(codes, rows, cols, spec.bits());
  }

  /** See {@link QuantizedStep#gradient}. */
  default double quantizerGradient(
      float[] w,
      float[] scales,
      MemorySegment g,
      int rows,
      int cols,
      QuantSpec spec,
      float[] dTheta) {
    return QuantizedStep.gradientInJava(w, scales, g, spec, dTheta);
  }

  /** See {@link QuantizedStep#step}. */
  default void quantizedStep(
      AdamW.Settings settings,
      float[] w,
      MemorySegment g,
      float[] m,
      float[] v,
      float[] before,
      float[] after,
      int rows,
      int cols,
      QuantSpec spec,
      WeightCopy out) {
    QuantizedStep.stepInJava(this, settings, w, g, m, v, before, after, spec, out);
  }

  /** Sum of squares of float32 numbers. */
  default double squares(MemorySegment v) {
    double out = 0;
    for (float x : v.toArray(ValueLayout.JAVA_FLOAT)) {
      out += (double) x * x;
    }
    return out;
  }

  /** See {@link TokenLosses#apply}. */
  default TokenLosses.Result tokenLosses(TokenLosses.Batch batch, float[] d) {
    return TokenLosses.java(batch, d);
  }

  /** See {@link TokenLosses#applyInPlace}. */
  default TokenLosses.Result tokenLosses(TokenLosses.Rows rows, MemorySegment logits) {
    return TokenLosses.java(rows, logits);
  }

  /** See {@link TeacherStatistics#ofRows}. */
  default TeacherStatistics[] statistics(
      float[] logits, int rows, int vocab, int[] targets, double temperature) {
    TeacherStatistics[] out = new TeacherStatistics[rows];
    Parallel.run(
        Parallel.shared(),
        logits.length > 1 << 13,
        rows,
        i -> out[i] = TeacherStatistics.of(logits, i, vocab, targets[i], temperature));
    return out;
  }

  /** See {@link TopK#selectRows}; all versions give the same. */
  default TopK.Selection topK(float[] logits, int rows, int vocab, int k) {
    TopK.Selection out = new TopK.Selection(new int[rows * k], new float[rows * k]);
    Parallel.run(
        Parallel.shared(),
        logits.length > 1 << 13,
        rows,
        i -> {
          TopK.Selection row = TopK.select(logits, i, vocab, k);
          System.arraycopy(row.ids(), 0, out.ids(), i * k, k);
          System.arraycopy(row.values(), 0, out.values(), i * k, k);
        });
    return out;
  }

  /** See {@link Rcka#gram(float[], int, int)}. */
  default float[] gram(float[] v, int n, int d) {
    return Rcka.gram(this, v, n, d);
  }

  /** See {@link Rcka#apply(float[], float[], int, int, long)}. */
  default Rcka.Result rcka(float[] teacher, float[] v, int n, int d, long bytes) {
    return Rcka.apply(this, teacher, v, n, d, bytes);
  }
}
