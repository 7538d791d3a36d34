package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.gracebeam.worker.kernels.Bf16;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.Kernels;
import io.gracebeam.worker.kernels.LatentWeight;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
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
    State now =
        new State(weights(random, n, group), new float[n], new float[n], null, null, null, spec);
    now.theta = LogScaleQuantizer.absmaxLogScales(now.w, rows, cols, spec);
    now.thetaM = new float[groups];
    now.thetaV = new float[groups];
    for (int number = 1; number <= 3; number++) {
      float[] gradient = new float[n];
      for (int i = 0; i < n; i++) {
        gradient[i] = (float) random.nextGaussian() * 0.1f;
      }
      now = step(now, gradient, rows, cols, narrow, number);
    }
  }

  private static final class State {
    final float[] w;
    final float[] m;
    final float[] v;
    float[] theta;
    float[] thetaM;
    float[] thetaV;
    final QuantSpec spec;

    State(float[] w, float[] m, float[] v, float[] theta, float[] tm, float[] tv, QuantSpec spec) {
      this.w = w;
      this.m = m;
      this.v = v;
      this.theta = theta;
      this.thetaM = tm;
      this.thetaV = tv;
      this.spec = spec;
    }
  }

  private State step(State s, float[] gradient, int rows, int cols, boolean narrow, int number) {
    double rate = 0.01;
    double decay = 0.1;
    float scale = 0.7f;
    double factor = 0.5;
    int n = s.w.length;
    int groups = s.theta.length;
    float[] dW = new float[n];
    float[] dTheta = new float[groups];
    LatentWeight before = new LatentWeight(s.w, rows, cols, s.spec);
    MemorySegment up = MemorySegment.ofArray(gradient);
    ORACLE.training().gradient(before, scales(s.theta), up, factor, dW, dTheta);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment q = quantizer(arena, s.spec.bits(), rows, cols, s.spec.groupSize());
      MemorySegment w = memory.floats(s.w);
      MemorySegment m = memory.floats(s.m);
      MemorySegment v = memory.floats(s.v);
      MemorySegment theta = memory.floats(s.theta);
      MemorySegment thetaM = memory.floats(s.thetaM);
      MemorySegment thetaV = memory.floats(s.thetaV);
      MemorySegment g = memory.floats(gradient);
      norm(memory, q, g, w, theta, factor, dW, dTheta);
      MemorySegment out = memory.output((narrow ? 2L : 4L) * n);
      library.checked(
          "gkc_qat_step",
          q,
          step(arena, rate, decay, factor, scale, number),
          g,
          w,
          m,
          v,
          theta,
          thetaM,
          thetaV,
          out,
          narrow ? 1 : 0,
          STREAM);
      State after =
          new State(
              memory.readFloats(w, n),
              memory.readFloats(m, n),
              memory.readFloats(v, n),
              memory.readFloats(theta, groups),
              memory.readFloats(thetaM, groups),
              memory.readFloats(thetaV, groups),
              s.spec);
      // Sums within a group are double in another order: what is left of it is far below an ulp of
      // float32, unless terms cancel each other.
      double slack = 1e-13 * s.spec.groupSize() * s.spec.qn() * factor;
      moments("w", s.w, dW, s.m, s.v, after.w, after.m, after.v, rate, decay, scale, number, 0);
      moments(
          "theta",
          s.theta,
          dTheta,
          s.thetaM,
          s.thetaV,
          after.theta,
          after.thetaM,
          after.thetaV,
          rate / 3,
          0,
          scale,
          number,
          slack);
      float[] expected = new float[n];
      fakeQuantize(new LatentWeight(after.w, rows, cols, s.spec), after.theta, expected);
      if (narrow) {
        Close.that(
            Arrays.equals(memory.readShorts(out, n), Bf16.fromFloats(expected)),
            "quantized weights in bfloat16 differ after a step");
      } else {
        Close.that(
            Arrays.equals(memory.readFloats(out, n), expected),
            "quantized weights differ after a step");
      }
      return after;
    }
  }

  private void norm(
      GuardedMemory memory,
      MemorySegment q,
      MemorySegment gradient,
      MemorySegment w,
      MemorySegment theta,
      double factor,
      float[] dW,
      float[] dTheta) {
    double expected = 0;
    for (float d : dW) {
      expected += (double) d * d;
    }
    for (float d : dTheta) {
      expected += (double) d * d;
    }
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
      String what,
      float[] p,
      float[] g,
      float[] m,
      float[] v,
      float[] afterP,
      float[] afterM,
      float[] afterV,
      double rate,
      double decay,
      float scale,
      int number,
      double slack) {
    double c1 = 1 - Math.pow(BETA1, number);
    double c2 = Math.sqrt(1 - Math.pow(BETA2, number));
    for (int i = 0; i < p.length; i++) {
      double gi = (double) g[i] * scale;
      double off = slack == 0 ? 0 : slack + Math.ulp(g[i]);
      double first = BETA1 * m[i] + (1 - BETA1) * gi;
      double second = BETA2 * v[i] + (1 - BETA2) * gi * gi;
      Close.check(
          what + ".m", i, afterM[i], first, Math.ulp((float) first) + off + 1e-15 * Math.abs(gi));
      Close.check(
          what + ".v", i, afterV[i], second, Math.ulp((float) second) + 2 * Math.abs(gi) * off);
      double expected =
          p[i] * (1 - rate * decay) - rate / c1 * afterM[i] / (Math.sqrt(afterV[i]) / c2 + EPS);
      Close.check(what, i, afterP[i], expected, Math.ulp((float) expected) + 1e-15);
    }
  }
}
