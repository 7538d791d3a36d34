package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.AdamW;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.LsqGradient;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.kernels.QuantizedStep;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The trainable values: latent float32 masters W, log-scales theta, AdamW moments. The engine's
 * arrays hold the quantised weights and are the leaves of the backward pass; after it, one
 * straight-through step takes their gradients to W and theta.
 */
final class Parameters {
  static final String THETA = "theta.";
  private static final String M = "m.";
  private static final String V = "v.";
  private static final double EPS = 1e-8;

  private static final class Slot {
    final String name;
    final NDArray array;
    final int rows;
    final int cols;
    final boolean matrix;
    final float[] w;
    final float[] m;
    final float[] v;
    float[] g; // kept from step to step: a new one each time would cost as much as the step
    QuantSpec spec;
    float[] theta;
    float[] thetaM;
    float[] thetaV;
    float[] dTheta;
    float[] quantized;
    float[] scales; // of theta; null if theta or w may have changed since quantized was written

    Slot(String name, NDArray array, float[] master) {
      this.name = name;
      this.array = array;
      long[] shape = array.getShape().getShape();
      this.rows = (int) shape[0];
      this.cols = (int) (array.size() / shape[0]);
      this.matrix = shape.length > 1;
      this.w = master == null ? array.toFloatArray() : master;
      this.m = new float[w.length];
      this.v = new float[w.length];
    }
  }

  private final List<Slot> slots = new ArrayList<>();

  /** The arrays' own values are the latent weights. */
  Parameters(Map<String, NDArray> trainable) {
    this(trainable, Map.of());
  }

  /**
   * Asks the engine for the arrays' gradients. Order of the map = order of all sums.
   *
   * @param masters latent weights by name, changed in place; an array without one gives its values
   */
  Parameters(Map<String, NDArray> trainable, Map<String, float[]> masters) {
    trainable.forEach(
        (name, array) -> {
          slots.add(new Slot(name, array, masters.get(name)));
          array.setRequiresGradient(true);
        });
  }

  /**
   * Turns quantisation on for some weights, with scales from the MSE search.
   *
   * @throws GraceException user, if the group size does not divide the input width of a weight
   */
  void quantize(List<String> names, int bits, int groupSize, boolean perTensor) {
    for (Slot s : slots) {
      if (names.contains(s.name)) {
        s.spec = spec(s.name, s.rows, s.cols, bits, groupSize, perTensor);
        s.theta = LogScaleQuantizer.searchLogScales(s.w, s.rows, s.cols, s.spec);
        s.thetaM = new float[s.theta.length];
        s.thetaV = new float[s.theta.length];
        s.dTheta = new float[s.theta.length];
        s.quantized = new float[s.w.length];
      }
    }
  }

  /** The quantiser of one weight; a group size that does not divide is refused. */
  static QuantSpec spec(
      String name, int rows, int cols, int bits, int groupSize, boolean perTensor) {
    if (!perTensor && groupSize != -1 && (groupSize < 1 || cols % groupSize != 0)) {
      throw GraceException.user(
          "quantization.group_size %d does not divide the input width %d of %s; allowed are its divisors, or -1 for one group per row",
          groupSize, cols, name);
    }
    return QuantSpec.of(bits, groupSize, perTensor, rows, cols);
  }

  /**
   * Writes the (quantised) weights into the engine's arrays, which are then leaves with a zero
   * gradient; new ones where the engine cannot overwrite. The scope closes what the engine makes on
   * the way: a forgotten view would keep a whole gradient alive in every step.
   */
  void write() {
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      for (Slot s : slots) {
        float[] values = s.w;
        if (s.spec != null) {
          if (s.scales == null) {
            s.scales = LogScaleQuantizer.scales(s.theta);
            LogScaleQuantizer.fakeQuantize(s.w, s.theta, s.rows, s.cols, s.spec, s.quantized);
          }
          values = s.quantized;
        }
        if (!EngineArrays.overwrite(s.array, values)) {
          s.array.intern(
              EngineArrays.of(
                  s.array.getManager(), values, s.array.getShape(), s.array.getDataType()));
        }
        s.array.setRequiresGradient(true);
        clear(s.array);
      }
    }
  }

  /**
   * Reads and clears the accumulated gradients, clips their global norm, and steps.
   *
   * @param number optimiser step, from 1
   * @param where names step and examples in the error
   * @return the norm before clipping
   * @throws GraceException data, if the norm is not finite
   */
  double step(Training t, double rate, int number, String where) {
    double square = gradients();
    double norm = Math.sqrt(square);
    if (!Double.isFinite(norm)) {
      throw GraceException.data(
          "%s: the gradient is not finite in %s",
          where,
          slots.stream().filter(s -> !Double.isFinite(squares(s.g))).map(s -> s.name).toList());
    }
    float scale =
        t.getClipNorm() > 0 && norm > t.getClipNorm() ? (float) (t.getClipNorm() / norm) : 1f;
    for (Slot s : slots) {
      double decay = s.matrix ? t.getWeightDecay() : 0;
      AdamW.Settings own = settings(t, rate, decay, number, scale);
      if (s.spec == null) {
        step(own, s.w, s.g, s.m, s.v);
      } else {
        float[] before = scales(s);
        step(
            settings(t, rate * t.getScaleRateFactor(), 0, number, scale),
            s.theta,
            s.dTheta,
            s.thetaM,
            s.thetaV);
        s.scales = LogScaleQuantizer.scales(s.theta);
        QuantizedStep.step(
            own, s.w, s.g, s.m, s.v, before, s.scales, s.rows, s.cols, s.spec, s.quantized);
      }
    }
    return norm;
  }

  private static AdamW.Settings settings(
      Training t, double rate, double decay, int number, float scale) {
    return new AdamW.Settings(rate, t.getBeta1(), t.getBeta2(), EPS, decay, number, scale);
  }

  private static void step(AdamW.Settings s, float[] p, float[] g, float[] m, float[] v) {
    AdamW.step(p, g, m, v, s.lr(), s.b1(), s.b2(), s.eps(), s.decay(), s.t(), s.gradScale());
  }

  private static float[] scales(Slot s) {
    return s.scales == null ? LogScaleQuantizer.scales(s.theta) : s.scales;
  }

  /**
   * Gradients by the engine's arrays and by the log-scales into the slots; the sum of the squares
   * of the straight-through ones.
   */
  double gradients() {
    double square = 0;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      for (Slot s : slots) {
        s.g = EngineArrays.floats(s.array.getGradient(), s.g);
        clear(s.array);
        square +=
            s.spec == null
                ? squares(s.g)
                : QuantizedStep.gradient(s.w, scales(s), s.g, s.rows, s.cols, s.spec, s.dTheta)
                    + squares(s.dTheta);
      }
    }
    return square;
  }

  /** Straight-through gradient of a weight after {@link #gradients}; for tests. */
  float[] gradient(String name) {
    Slot s = slot(name);
    float[] out = s.g.clone();
    if (s.spec != null) {
      LsqGradient.apply(s.w, s.theta, s.g, s.rows, s.cols, s.spec, out, new float[s.theta.length]);
    }
    return out;
  }

  /** Log-scale gradient of a weight after {@link #gradients}; for tests. */
  float[] thetaGradient(String name) {
    return slot(name).dTheta;
  }

  /** Latent weight, live; what is changed counts from the next {@link #write}. */
  float[] latent(String name) {
    return changing(name).w;
  }

  /** Log-scales, live; null if not quantised. */
  float[] theta(String name) {
    return changing(name).theta;
  }

  private Slot changing(String name) {
    Slot s = slot(name);
    s.scales = null;
    return s;
  }

  private Slot slot(String name) {
    return slots.stream().filter(s -> s.name.equals(name)).findFirst().orElseThrow();
  }

  /** Moments and log-scales by name. */
  SortedMap<String, float[]> state() {
    SortedMap<String, float[]> out = new TreeMap<>();
    for (Slot s : slots) {
      s.scales = null;
      out.put(M + s.name, s.m);
      out.put(V + s.name, s.v);
      if (s.spec != null) {
        out.put(THETA + s.name, s.theta);
        out.put(M + THETA + s.name, s.thetaM);
        out.put(V + THETA + s.name, s.thetaV);
      }
    }
    return out;
  }

  /**
   * Takes moments and log-scales from a state.
   *
   * @throws GraceException data, if a tensor is missing or has another length
   */
  void restore(SortedMap<String, float[]> state) {
    SortedMap<String, float[]> own = state();
    own.forEach(
        (name, to) -> {
          float[] from = state.get(name);
          if (from == null || from.length != to.length) {
            throw GraceException.data(
                "optimiser state: %s has %s values; this training calls for %d",
                name, from == null ? "no" : Integer.toString(from.length), to.length);
          }
          System.arraycopy(from, 0, to, 0, to.length);
        });
  }

  /** Zeroes a gradient in place, whatever it holds: a fresh one may hold anything. */
  private static void clear(NDArray array) {
    try (NDArray gradient = array.getGradient()) {
      gradient.set(new NDIndex(":"), 0f);
    }
  }

  private static double squares(float[] g) {
    return KernelProvider.best().squares(g);
  }
}
