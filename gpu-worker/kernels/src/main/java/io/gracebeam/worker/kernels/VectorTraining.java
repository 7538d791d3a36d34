package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.ForkJoinPool;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Training kernels on the Vector API. */
final class VectorTraining extends JavaTraining {
  private static final VectorSpecies<Float> F = VectorLanes.SPECIES;
  private static final int LANES = F.length();
  private static final float MAGIC = VectorLanes.MAGIC;
  private static final int CHUNK = 1 << 14;

  private final ForkJoinPool pool;

  VectorTraining(ForkJoinPool pool) {
    this.pool = pool;
  }

  @Override
  public double gradient(
      LatentWeight w,
      float[] scales,
      MemorySegment g,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    float[] own = g.toArray(ValueLayout.JAVA_FLOAT);
    float[] masked = dW == null ? new float[own.length] : dW;
    double[] ds = segments(w, scales, own, masked);
    for (int k = 0; k < ds.length; k++) {
      dTheta[k] = (float) (thetaFactor * scales[k] * ds[k]);
    }
    return Checks.allFinite(own, 0, own.length)
        ? squares(MemorySegment.ofArray(masked))
        : Double.NaN;
  }

  /** Gradients with respect to the scales; writes those that the mask lets pass. */
  private double[] segments(LatentWeight w, float[] s, float[] d, float[] dW) {
    QuantSpec spec = w.spec();
    int rows = w.rows();
    int seg = spec.segment(w.cols());
    int perRow = w.cols() / seg;
    double[] sums = new double[rows * perRow];
    VectorLanes.run(
        pool,
        d.length,
        rows,
        r -> {
          float[] lanes = new float[LANES];
          for (int k = 0; k < perRow; k++) {
            int id = r * perRow + k;
            float scale = s[spec.perTensor() ? 0 : id];
            sums[id] = segment(w.values(), scale, d, id * seg, seg, spec, dW, lanes);
          }
        });
    if (!spec.perTensor()) {
      return sums;
    }
    double all = 0;
    for (double sum : sums) {
      all += sum;
    }
    return new double[] {all};
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
      total += VectorLanes.sum(acc, lanes);
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
  void adamW(AdamW.Settings settings, float[] p, float[] g, Moments moments) {
    AdamW.Factors f = AdamW.factors(settings);
    float[] m = moments.first();
    float[] v = moments.second();
    VectorLanes.run(
        pool,
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
