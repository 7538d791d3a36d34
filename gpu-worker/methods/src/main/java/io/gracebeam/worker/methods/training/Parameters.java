package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.AdamW;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.LatentWeight;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.LsqGradient;
import io.gracebeam.worker.kernels.Moments;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.kernels.QuantizedStep;
import io.gracebeam.worker.kernels.ScaleStep;
import io.gracebeam.worker.kernels.WeightCopy;
import io.gracebeam.worker.methods.quantize.QuantScheme;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The trainable values: latent float32 masters W, log-scales theta, AdamW moments. The engine's
 * arrays hold the quantized weights and are the leaves of the backward pass; after it, one
 * straight-through step takes their gradients to W and theta.
 */
final class Parameters {
  static final String THETA = StateFile.LOG_SCALES;
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
    final Moments moments;
    MemorySegment g; // of held, or buffer; null if the gradient may have changed
    NDArray held; // the gradient whose memory g is, so that it stays
    float[] buffer; // of g; kept from step to step: a new one each time would cost as much as it
    boolean written; // the engine's array holds the values of w and theta
    LatentWeight latent; // w with its quantizer; null if it is not quantized
    float[] theta;
    Moments thetaMoments;
    float[] dTheta;
    float[] scales; // of theta; null if it may have changed
    float[] quantized; // w, where the engine's array is out of reach; null if w may have changed

    Slot(String name, NDArray array, float[] master) {
      this.name = name;
      this.array = array;
      long[] shape = array.getShape().getShape();
      this.rows = (int) shape[0];
      this.cols = (int) (array.size() / shape[0]);
      this.matrix = shape.length > 1;
      this.w = master == null ? array.toFloatArray() : master;
      this.moments = Moments.zeros(w.length);
    }

    /** The engine may change the gradient again. */
    void release() {
      g = null;
      if (held != null) {
        held.close();
        held = null;
      }
    }

    /** The caller may change w and theta. */
    void changing() {
      scales = null;
      quantized = null;
      written = false;
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
   * Turns quantization on for some weights, with scales from the MSE search.
   *
   * @throws GraceException user, if the group size does not divide the input width of a weight
   */
  void quantize(List<String> names, int bits, int groupSize, boolean perTensor) {
    for (Slot s : slots) {
      if (names.contains(s.name)) {
        QuantSpec spec = new QuantScheme(bits, groupSize, perTensor).spec(s.name, s.rows, s.cols);
        s.latent = new LatentWeight(s.w, s.rows, s.cols, spec);
        s.theta = LogScaleQuantizer.searchLogScales(s.w, s.rows, s.cols, spec);
        s.thetaMoments = Moments.zeros(s.theta.length);
        s.dTheta = new float[s.theta.length];
        s.written = false;
      }
    }
  }

  /**
   * Sees that the engine's arrays hold the (quantized) weights and are leaves with a zero gradient;
   * new ones where the engine cannot overwrite. The scope closes intermediate arrays of the engine:
   * a forgotten view would keep a whole gradient alive in every step.
   */
  void write() {
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      for (Slot s : slots) {
        if (!s.written) {
          write(s.array, s.latent == null ? s.w : quantized(s));
          s.written = true;
        }
        s.release();
        s.array.setRequiresGradient(true);
        clear(s.array);
      }
    }
  }

  private static void write(NDArray array, float[] values) {
    if (!EngineArrays.overwrite(array, values)) {
      array.intern(
          EngineArrays.of(array.getManager(), values, array.getShape(), array.getDataType()));
    }
  }

  private static float[] quantized(Slot s) {
    if (s.quantized != null) {
      return s.quantized;
    }
    s.scales = LogScaleQuantizer.scales(s.theta);
    float[] out = new float[s.w.length];
    LogScaleQuantizer.fakeQuantize(s.w, s.theta, s.rows, s.cols, s.latent.spec(), out);
    return out;
  }

  /**
   * Reads the accumulated gradients, clips their global norm, and steps. Where native code reaches
   * the engine's arrays, their new values are written at once.
   *
   * @param number optimizer step, from 1
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
      MemorySegment memory = EngineArrays.memory(s.array);
      WeightCopy reached =
          memory == null
              ? null
              : new WeightCopy(memory, s.array.getDataType() == DataType.BFLOAT16);
      if (s.latent == null) {
        AdamW.step(own, s.w, s.g, s.moments, reached);
      } else {
        AdamW.Settings ofScales = settings(t, rate * t.getScaleRateFactor(), 0, number, scale);
        quantizedStep(s, own, ofScales, reached);
      }
      s.written = reached != null;
    }
    return norm;
  }

  private static void quantizedStep(
      Slot s, AdamW.Settings own, AdamW.Settings ofScales, WeightCopy reached) {
    float[] before = scales(s);
    MemorySegment dTheta = MemorySegment.ofArray(s.dTheta);
    AdamW.step(ofScales, s.theta, dTheta, s.thetaMoments, null);
    s.scales = LogScaleQuantizer.scales(s.theta);
    if (reached == null && s.quantized == null) {
      s.quantized = new float[s.w.length];
    }
    WeightCopy out = reached == null ? WeightCopy.of(s.quantized) : reached;
    ScaleStep step = new ScaleStep(before, s.scales);
    QuantizedStep.step(own, s.latent, s.g, s.moments, step, out);
  }

  private static AdamW.Settings settings(
      Training t, double rate, double decay, int number, float scale) {
    return new AdamW.Settings(rate, t.getBeta1(), t.getBeta2(), EPS, decay, number, scale);
  }

  private static float[] scales(Slot s) {
    return s.scales == null ? LogScaleQuantizer.scales(s.theta) : s.scales;
  }

  /**
   * Finds the gradients by the engine's arrays, which stay theirs until the next {@link #write},
   * and those by the log-scales; the sum of the squares of the straight-through ones.
   */
  double gradients() {
    double square = 0;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      for (Slot s : slots) {
        s.g = gradient(s);
        square +=
            s.latent == null
                ? squares(s.g)
                : QuantizedStep.gradient(s.latent, scales(s), s.g, s.dTheta)
                    + squares(MemorySegment.ofArray(s.dTheta));
      }
    }
    return square;
  }

  /** In the engine's memory, which is held for it, or copied into the buffer. */
  private static MemorySegment gradient(Slot s) {
    s.release();
    NDArray gradient = s.array.getGradient();
    MemorySegment memory =
        gradient.getDataType() == DataType.FLOAT32 ? EngineArrays.memory(gradient) : null;
    if (memory != null) {
      NDScope.unregister(gradient);
      s.held = gradient;
      return memory;
    }
    try (gradient) {
      s.buffer = EngineArrays.floats(gradient, s.buffer);
      return MemorySegment.ofArray(s.buffer);
    }
  }

  /** Straight-through gradient of a weight after {@link #gradients}; for tests. */
  float[] gradient(String name) {
    Slot s = slot(name);
    float[] g = s.g.toArray(ValueLayout.JAVA_FLOAT);
    if (s.latent != null) {
      LsqGradient.apply(s.latent, s.theta, g, 1, g, new float[s.theta.length]);
    }
    return g;
  }

  /** Log-scale gradient of a weight after {@link #gradients}; for tests. */
  float[] thetaGradient(String name) {
    return slot(name).dTheta;
  }

  /** Latent weight, live; what is changed counts from the next {@link #write}. */
  float[] latent(String name) {
    return changing(name).w;
  }

  /** Log-scales, live; null if not quantized. */
  float[] theta(String name) {
    return changing(name).theta;
  }

  private Slot changing(String name) {
    Slot s = slot(name);
    s.changing();
    return s;
  }

  private Slot slot(String name) {
    return slots.stream().filter(s -> s.name.equals(name)).findFirst().orElseThrow();
  }

  /** Moments and log-scales by name. */
  SortedMap<String, float[]> state() {
    SortedMap<String, float[]> out = new TreeMap<>();
    for (Slot s : slots) {
      s.changing();
      out.put(M + s.name, s.moments.first());
      out.put(V + s.name, s.moments.second());
      if (s.latent != null) {
        out.put(THETA + s.name, s.theta);
        out.put(M + THETA + s.name, s.thetaMoments.first());
        out.put(V + THETA + s.name, s.thetaMoments.second());
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
                "optimizer state: %s has %s values; this training calls for %d",
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

  private static double squares(MemorySegment g) {
    return KernelProvider.best().training().squares(g);
  }
}
