package io.gracebeam.worker.kernels;

import static io.gracebeam.worker.kernels.NativeArrays.all;
import static io.gracebeam.worker.kernels.NativeArrays.at;
import static io.gracebeam.worker.kernels.NativeArrays.grouping;
import static java.lang.foreign.MemorySegment.NULL;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Training kernels in C. */
final class NativeTraining implements TrainingKernels {
  private static final int SQUARES = 1 << 16;

  private final NativeSession session;
  private final MethodHandle gradient;
  private final MethodHandle squares;
  private final MethodHandle adamW;
  private final MethodHandle quantizedStep;

  NativeTraining(NativeSession session) {
    this.session = session;
    NativeLibrary library = session.library();
    this.gradient =
        library.onHeap(
            "gk_quantizer_gradient",
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS);
    this.squares = library.onHeap("gk_squares", ADDRESS, JAVA_LONG, ADDRESS);
    this.adamW =
        library.onHeap(
            "gk_adamw_step",
            ADDRESS,
            JAVA_LONG,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT);
    this.quantizedStep =
        library.onHeap(
            "gk_quantized_step",
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT);
  }

  @Override
  public double gradient(
      LatentWeight w,
      float[] scales,
      MemorySegment g,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    QuantSpec spec = w.spec();
    int rows = w.rows();
    int perRow = w.cols() / spec.segment(w.cols());
    // Sums of rows, where they still have to be added up or multiplied with the factor.
    double[] ds = spec.perTensor() || thetaFactor != 1 ? new double[rows * perRow] : null;
    double[] squaresOfRows = new double[rows];
    int step = NativeArrays.rows(w.cols());
    session.locking(
        () -> {
          for (int r = 0; r < rows; r += step) {
            long from = (long) r * w.cols();
            long scale = (long) r * perRow;
            session.run(
                gradient,
                grouping(w, Math.min(step, rows - r)),
                at(w.values(), from),
                NativeArrays.scales(w, scales, r),
                g.asSlice(Float.BYTES * from),
                dW == null ? NULL : at(dW, from),
                ds == null ? NULL : at(ds, scale),
                ds == null ? at(dTheta, scale) : NULL,
                at(squaresOfRows, r));
          }
        });
    if (spec.perTensor()) {
      dTheta[0] = (float) (thetaFactor * scales[0] * sum(ds));
    } else if (ds != null) {
      for (int k = 0; k < ds.length; k++) {
        dTheta[k] = (float) (thetaFactor * scales[k] * ds[k]);
      }
    }
    return sum(squaresOfRows);
  }

  @Override
  public double squares(MemorySegment v) {
    long n = v.byteSize() / Float.BYTES;
    double[] sums = new double[(int) ((n + SQUARES - 1) / SQUARES)];
    session.locking(() -> session.run(squares, v, n, all(sums)));
    return sum(sums);
  }

  private static double sum(double[] parts) {
    double out = 0;
    for (double p : parts) {
      out += p;
    }
    return out;
  }

  @Override
  public void adamW(
      AdamW.Settings settings, float[] p, MemorySegment g, Moments moments, WeightCopy out) {
    AdamW.Factors step = AdamW.factors(settings);
    int n = NativeArrays.PIECE;
    session.locking(
        () -> {
          for (int from = 0; from < p.length; from += n) {
            session.run(
                adamW,
                factors(step),
                (long) Math.min(n, p.length - from),
                at(p, from),
                g.asSlice((long) Float.BYTES * from),
                at(moments.first(), from),
                at(moments.second(), from),
                out == null ? NULL : out.from(from),
                out != null && out.half() ? 1 : 0);
          }
        });
  }

  @Override
  public void quantizedStep(
      AdamW.Settings settings,
      LatentWeight w,
      MemorySegment g,
      Moments moments,
      ScaleStep scales,
      WeightCopy out) {
    AdamW.Factors step = AdamW.factors(settings);
    int piece = NativeArrays.rows(w.cols());
    session.locking(
        () -> {
          for (int r = 0; r < w.rows(); r += piece) {
            long from = (long) r * w.cols();
            session.run(
                quantizedStep,
                grouping(w, Math.min(piece, w.rows() - r)),
                factors(step),
                at(w.values(), from),
                g.asSlice(Float.BYTES * from),
                at(moments.first(), from),
                at(moments.second(), from),
                NativeArrays.scales(w, scales.before(), r),
                NativeArrays.scales(w, scales.after(), r),
                out.from(from),
                out.half() ? 1 : 0);
          }
        });
  }

  /** A gk_adamw. */
  private static MemorySegment factors(AdamW.Factors f) {
    return all(
        new float[] {
          f.keep(), f.rate(), f.root(), f.b1(), f.b2(), f.rest1(), f.rest2(), f.eps(), f.gradScale()
        });
  }
}
