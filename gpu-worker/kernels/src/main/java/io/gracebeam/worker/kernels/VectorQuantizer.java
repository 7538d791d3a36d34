package io.gracebeam.worker.kernels;

import java.util.concurrent.ForkJoinPool;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/** The quantizer on the Vector API; scales and codes are the plain loops'. */
final class VectorQuantizer implements QuantizerKernels {
  private static final VectorSpecies<Float> F = VectorLanes.SPECIES;
  private static final int LANES = F.length();
  private static final float MAGIC = VectorLanes.MAGIC;

  private final ForkJoinPool pool;
  private final QuantizerKernels scalar = new ScalarQuantizer();

  VectorQuantizer(ForkJoinPool pool) {
    this.pool = pool;
  }

  @Override
  public void scales(float[] theta, float[] scales) {
    scalar.scales(theta, scales);
  }

  @Override
  public void searchScales(LatentWeight w, float[] scales) {
    scalar.searchScales(w, scales);
  }

  @Override
  public int[] packedCodes(LatentWeight w, float[] scales) {
    return scalar.packedCodes(w, scales);
  }

  @Override
  public void fakeQuantize(LatentWeight weight, float[] s, float[] out) {
    float[] w = weight.values();
    int cols = weight.cols();
    QuantSpec spec = weight.spec();
    int seg = spec.segment(cols);
    float low = -spec.qn();
    float high = spec.qp();
    VectorLanes.run(
        pool,
        w.length,
        weight.rows(),
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
}
