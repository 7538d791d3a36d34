package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Training kernels as plain loops in double precision. */
final class ScalarTraining extends JavaTraining {
  @Override
  public double gradient(
      LatentWeight weight,
      float[] scales,
      MemorySegment g,
      double thetaFactor,
      float[] dW,
      float[] dTheta) {
    float[] w = weight.values();
    QuantSpec spec = weight.spec();
    float[] d = g.toArray(ValueLayout.JAVA_FLOAT);
    double[] ds = new double[scales.length];
    double squares = 0;
    for (int i = 0; i < w.length; i++) {
      int k = i / spec.groupSize();
      float u = w[i] / scales[k];
      float r = (float) Math.rint(u);
      boolean in = passes(r, spec);
      float q = Math.max(-spec.qn(), Math.min(spec.qp(), r));
      ds[k] += (double) d[i] * (in ? q - u : q);
      squares += in ? (double) d[i] * d[i] : d[i] * 0f;
      if (dW != null) {
        dW[i] = in ? d[i] : 0f;
      }
    }
    for (int k = 0; k < scales.length; k++) {
      dTheta[k] = (float) (thetaFactor * scales[k] * ds[k]);
    }
    return squares;
  }

  @Override
  void adamW(AdamW.Settings s, float[] p, float[] g, Moments moments) {
    float[] m = moments.first();
    float[] v = moments.second();
    double b1 = s.b1();
    double b2 = s.b2();
    double c1 = 1 - StrictMath.pow(b1, s.t());
    double c2 = Math.sqrt(1 - StrictMath.pow(b2, s.t()));
    for (int i = 0; i < p.length; i++) {
      double gi = (double) g[i] * s.gradScale();
      m[i] = (float) (b1 * m[i] + (1 - b1) * gi);
      v[i] = (float) (b2 * v[i] + (1 - b2) * gi * gi);
      p[i] =
          (float)
              (p[i] * (1 - s.lr() * s.decay())
                  - s.lr() / c1 * m[i] / (Math.sqrt(v[i]) / c2 + s.eps()));
    }
  }
}
