package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.gracebeam.worker.kernels.AdamW;
import io.gracebeam.worker.kernels.Bf16;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.Kernels;
import io.gracebeam.worker.kernels.LatentWeight;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.Moments;
import io.gracebeam.worker.kernels.Packing;
import io.gracebeam.worker.kernels.QuantSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Random;

/** Scale search, quantization and the training step against the oracle. */
final class QuantizerChecks {
  private static final Kernels ORACLE = KernelProvider.oracle();
  private static final double EPS = 1e-8;
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.95;

  private final CudaLibrary library;
  private final Device device;

  QuantizerChecks(CudaLibrary library, Device device) {
    this.library = library;
    this.device = device;
  }

  /** gkc_quantizer. */
  static MemorySegment quantizer(Arena arena, int bits, int rows, int cols, int group) {
    return arena.allocateFrom(JAVA_INT, bits, rows, cols, group);
  }

  /** gkc_step. */
  static MemorySegment step(
      Arena arena, double rate, double decay, double factor, float scale, int number) {
    MemorySegment s = arena.allocate(64, 8);
    double[] numbers = {rate, rate / 3, BETA1, BETA2, EPS, decay, factor};
    MemorySegment.copy(numbers, 0, s, JAVA_DOUBLE, 0, numbers.length);
    s.set(JAVA_FLOAT, 56, scale);
    s.set(JAVA_INT, 60, number);
    return s;
  }

  /** Weights with some groups of zeros and some outliers. */
  private static float[] weights(Random random, int n, int group) {
    float[] w = new float[n];
    for (int i = 0; i < n; i++) {
      boolean zero = i / group % 5 == 3;
      w[i] = zero ? 0f : (float) random.nextGaussian() * (random.nextInt(20) == 0 ? 5f : 1f);
    }
    return w;
  }

  /** Scales, codes and quantized weights: what the oracle says, bit by bit. */
  void quantize(int bits, int rows, int cols, int group, long seed) {
    Random random = new Random(seed);
    QuantSpec spec = new QuantSpec(bits, group, false);
    float[] w = weights(random, rows * cols, group);
    int groups = spec.groups(rows, cols);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment q = quantizer(arena, bits, rows, cols, group);
      MemorySegment dw = memory.floats(w);
      MemorySegment dTheta = memory.output(4L * groups);
      library.checked("gkc_scale_search", q, dw, dTheta, STREAM);
      float[] theta = memory.readFloats(dTheta, groups);
      searched(w, theta, LogScaleQuantizer.searchLogScales(w, rows, cols, spec), rows, cols, spec);

      int words = rows * Packing.wordsPerRow(cols, bits);
      MemorySegment dWords = memory.output(4L * words);
      MemorySegment dScales = memory.output(4L * groups);
      library.checked("gkc_quantize", q, dw, dTheta, dWords, dScales, STREAM);
      byte[] codes = new byte[w.length];
      LogScaleQuantizer.quantize(w, theta, rows, cols, spec, codes);
      Close.that(
          Arrays.equals(memory.readInts(dWords, words), Packing.pack(codes, rows, cols, bits)),
          "packed codes differ");
      Close.that(
          Arrays.equals(memory.readFloats(dScales, groups), LogScaleQuantizer.scales(theta)),
          "scales differ");

      float[] expected = new float[w.length];
      fakeQuantize(new LatentWeight(w, rows, cols, spec), theta, expected);
      MemorySegment wide = memory.output(4L * w.length);
      library.checked("gkc_fake_quantize", q, dw, dTheta, wide, 0, STREAM);
      Close.that(
          Arrays.equals(memory.readFloats(wide, w.length), expected), "quantized weights differ");
      MemorySegment narrow = memory.output(2L * w.length);
      library.checked("gkc_fake_quantize", q, dw, dTheta, narrow, 1, STREAM);
      Close.that(
          Arrays.equals(memory.readShorts(narrow, w.length), Bf16.fromFloats(expected)),
          "quantized weights in bfloat16 differ");
    }
  }

  private static void fakeQuantize(LatentWeight w, float[] theta, float[] out) {
    ORACLE.quantizer().fakeQuantize(w, scales(theta), out);
  }

  private static float[] scales(float[] theta) {
    float[] out = new float[theta.length];
    ORACLE.quantizer().scales(theta, out);
    return out;
  }

  /** The oracle's scales; another ratio only where its error is as small but for rounding. */
  private static void searched(
      float[] w, float[] found, float[] expected, int rows, int cols, QuantSpec spec) {
    float[] a = new float[w.length];
    float[] b = new float[w.length];
    LatentWeight weight = new LatentWeight(w, rows, cols, spec);
    fakeQuantize(weight, found, a);
    fakeQuantize(weight, expected, b);
    int g = spec.groupSize();
    for (int i = 0; i < found.length; i++) {
      if (Math.abs(found[i] - expected[i]) <= Math.ulp(expected[i])) {
        continue;
      }
      double ours = 0;
      double best = 0;
      for (int k = i * g; k < (i + 1) * g; k++) {
        ours += Math.pow((double) w[k] - a[k], 2);
        best += Math.pow((double) w[k] - b[k], 2);
      }
      Close.check("error of theta", i, ours, best, 1e-12 * best);
    }
  }

  /** Some steps of training, each from what the one before left on the device. */
  void steps(int bits, int rows, int cols, int group, boolean narrow, long seed) {
    Random random = new Random(seed);
    QuantSpec spec = new QuantSpec(bits, group, false);
    int n = rows * cols;
    int groups = spec.groups(rows, cols);
    float[] w = weights(random, n, group);
    float[] theta = LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec);
    State now =
        new State(
            new LatentWeight(w, rows, cols, spec),
            new Parameter("w", w, Moments.zeros(n)),
            new Parameter("theta", theta, Moments.zeros(groups)));
    for (int number = 1; number <= 3; number++) {
      float[] gradient = new float[n];
      for (int i = 0; i < n; i++) {
        gradient[i] = (float) random.nextGaussian() * 0.1f;
      }
      now = step(now, gradient, narrow, number);
    }
  }

  /** Values of the weight or its log scales, with their moments. */
  private record Parameter(String name, float[] values, Moments moments) {}

  private record State(LatentWeight latent, Parameter w, Parameter theta) {}

  /** A parameter in the device's memory. */
  private record OnDevice(MemorySegment values, MemorySegment first, MemorySegment second) {
    static OnDevice of(GuardedMemory memory, Parameter p) {
      return new OnDevice(
          memory.floats(p.values),
          memory.floats(p.moments.first()),
          memory.floats(p.moments.second()));
    }

    Parameter read(GuardedMemory memory, Parameter before) {
      int n = before.values.length;
      return new Parameter(
          before.name,
          memory.readFloats(values, n),
          new Moments(memory.readFloats(first, n), memory.readFloats(second, n)));
    }
  }

  private State step(State s, float[] gradient, boolean narrow, int number) {
    double rate = 0.01;
    double decay = 0.1;
    float scale = 0.7f;
    double factor = 0.5;
    QuantSpec spec = s.latent.spec();
    int rows = s.latent.rows();
    int cols = s.latent.cols();
    int n = gradient.length;
    float[] dW = new float[n];
    float[] dTheta = new float[s.theta.values.length];
    MemorySegment up = MemorySegment.ofArray(gradient);
    ORACLE.training().gradient(s.latent, scales(s.theta.values), up, factor, dW, dTheta);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment q = quantizer(arena, spec.bits(), rows, cols, spec.groupSize());
      OnDevice w = OnDevice.of(memory, s.w);
      OnDevice theta = OnDevice.of(memory, s.theta);
      MemorySegment g = memory.floats(gradient);
      double squares = squares(dW) + squares(dTheta);
      norm(memory, squares, q, g, w.values, theta.values, factor);
      MemorySegment out = memory.output((narrow ? 2L : 4L) * n);
      library.checked(
          "gkc_qat_step",
          q,
          step(arena, rate, decay, factor, scale, number),
          g,
          w.values,
          w.first,
          w.second,
          theta.values,
          theta.first,
          theta.second,
          out,
          narrow ? 1 : 0,
          STREAM);
      Parameter afterW = w.read(memory, s.w);
      Parameter afterTheta = theta.read(memory, s.theta);
      LatentWeight latent = new LatentWeight(afterW.values, rows, cols, spec);
      // Sums within a group are double in another order: what is left of it is far below an ulp of
      // float32, unless terms cancel each other.
      double slack = 1e-13 * spec.groupSize() * spec.qn() * factor;
      moments(s.w, dW, afterW, settings(rate, decay, number, scale), 0);
      moments(s.theta, dTheta, afterTheta, settings(rate / 3, 0, number, scale), slack);
      float[] expected = new float[n];
      fakeQuantize(latent, afterTheta.values, expected);
      if (narrow) {
        Close.that(
            Arrays.equals(memory.readShorts(out, n), Bf16.fromFloats(expected)),
            "quantized weights in bfloat16 differ after a step");
      } else {
        Close.that(
            Arrays.equals(memory.readFloats(out, n), expected),
            "quantized weights differ after a step");
      }
      return new State(latent, afterW, afterTheta);
    }
  }

  private static AdamW.Settings settings(double rate, double decay, int number, float scale) {
    return new AdamW.Settings(rate, BETA1, BETA2, EPS, decay, number, scale);
  }

  private static double squares(float[] values) {
    double sum = 0;
    for (float v : values) {
      sum += (double) v * v;
    }
    return sum;
  }

  private void norm(
      GuardedMemory memory,
      double expected,
      MemorySegment q,
      MemorySegment gradient,
      MemorySegment w,
      MemorySegment theta,
      double factor) {
    MemorySegment out = memory.output(8);
    long bytes = library.callLong("gkc_gradient_norm_bytes");
    MemorySegment parts = memory.output(bytes);
    library.checked("gkc_gradient_norm", q, gradient, w, theta, factor, out, parts, bytes, STREAM);
    // An ulp of float32 in the log scales' gradients at most.
    Close.check("norm", 0, memory.readDoubles(out, 1)[0], expected, 3e-7 * expected);
  }

  /**
   * Moments within an ulp of the oracle's formula (double precision on both sides, rounded once),
   * and the parameter within an ulp of what the moments found give.
   *
   * @param slack what the gradient itself may be off by, beside an ulp
   */
  private static void moments(
      Parameter before, float[] g, Parameter after, AdamW.Settings s, double slack) {
    String what = before.name;
    float[] p = before.values;
    float[] m = after.moments.first();
    float[] v = after.moments.second();
    double c1 = 1 - Math.pow(BETA1, s.t());
    double c2 = Math.sqrt(1 - Math.pow(BETA2, s.t()));
    for (int i = 0; i < p.length; i++) {
      double gi = (double) g[i] * s.gradScale();
      double off = slack == 0 ? 0 : slack + Math.ulp(g[i]);
      double first = BETA1 * before.moments.first()[i] + (1 - BETA1) * gi;
      double second = BETA2 * before.moments.second()[i] + (1 - BETA2) * gi * gi;
      Close.check(
          what + ".m", i, m[i], first, Math.ulp((float) first) + off + 1e-15 * Math.abs(gi));
      Close.check(what + ".v", i, v[i], second, Math.ulp((float) second) + 2 * Math.abs(gi) * off);
      double expected =
          p[i] * (1 - s.lr() * s.decay()) - s.lr() / c1 * m[i] / (Math.sqrt(v[i]) / c2 + EPS);
      Close.check(what, i, after.values[i], expected, Math.ulp((float) expected) + 1e-15);
    }
  }
}
