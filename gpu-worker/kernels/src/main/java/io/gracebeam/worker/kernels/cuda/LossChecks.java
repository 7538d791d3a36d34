package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.gracebeam.worker.kernels.GatedDkd;
import io.gracebeam.worker.kernels.Rcka;
import io.gracebeam.worker.kernels.TeacherRows;
import io.gracebeam.worker.kernels.TeacherStatistics;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Random;

/** Extraction, distillation and relational loss against their oracles. */
final class LossChecks {
  private final CudaLibrary library;
  private final Device device;

  LossChecks(CudaLibrary library, Device device) {
    this.library = library;
    this.device = device;
  }

  /** Logits with a common offset, and ties where asked for. */
  static float[] logits(Random random, int rows, int vocab, double spread, boolean ties) {
    float[] z = new float[rows * vocab];
    for (int i = 0; i < z.length; i++) {
      double v = random.nextGaussian() * spread + (i / vocab % 2 == 0 ? 0 : 40);
      z[i] = (float) (ties ? Math.rint(v) : v);
    }
    return z;
  }

  static int[] targets(Random random, int rows, int vocab) {
    return random.ints(rows, 0, vocab).toArray();
  }

  /**
   * Relative error of sums of exp(a) for a = (z - max) / temperature: an exponential is good to two
   * ulps, three roundings of a count with their share of the sum, whose mean is below ln vocab.
   */
  private static double sumError(int vocab) {
    return 0x1p-22 + 3 * Close.ROUNDING * Math.log(vocab);
  }

  /** Relative error of the mean of a; the mean of its square is below (1 + ln vocab)^2. */
  private static double entropyError(int vocab) {
    return 0x1p-22 * Math.pow(1 + Math.log(vocab), 2);
  }

  /** Selection exactly, scalars within the rounding of float32 exponentials. */
  void teacher(
      int rows, int vocab, int k, double temperature, double spread, boolean ties, long seed) {
    Random random = new Random(seed);
    float[] z = logits(random, rows, vocab, spread, ties);
    int[] y = targets(random, rows, vocab);
    TeacherRows expected = TeacherRows.compress(z, rows, vocab, y, k, temperature);
    try (GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment ids = memory.output(4L * rows * k);
      MemorySegment values = memory.output(4L * rows * k);
      MemorySegment scalars = memory.output(32L * rows);
      library.checked(
          "gkc_teacher_rows",
          memory.floats(z),
          memory.ints(y),
          rows,
          vocab,
          k,
          temperature,
          ids,
          values,
          scalars,
          STREAM);
      Close.that(Arrays.equals(memory.readInts(ids, rows * k), expected.ids()), "ids differ");
      Close.that(
          Arrays.equals(memory.readFloats(values, rows * k), expected.values()), "values differ");
      double[] s = memory.readDoubles(scalars, 4 * rows);
      double bound = sumError(vocab);
      for (int i = 0; i < rows; i++) {
        Close.check("entropy", i, s[4 * i], expected.scalars().entropy()[i], entropyError(vocab));
        Close.check("targetLogProb", i, s[4 * i + 1], expected.scalars().targetLogProb()[i], bound);
        Close.check("logSumExp", i, s[4 * i + 2], expected.scalars().logSumExp()[i], bound);
        Close.check(
            "nonTargetLogSumExp",
            i,
            s[4 * i + 3],
            expected.scalars().nonTargetLogSumExp()[i],
            bound);
      }
    }
  }

  /** gkc_distillation. */
  static MemorySegment options(Arena arena, int rows, int vocab, int k, GatedDkd.Options o) {
    MemorySegment s = arena.allocate(48, 8);
    int[] sizes = {rows, vocab, k, o.mode() == GatedDkd.Mode.DKD ? 1 : 0, o.gate() ? 1 : 0};
    MemorySegment.copy(sizes, 0, s, JAVA_INT, 0, sizes.length);
    double[] numbers = {o.temperature(), o.alpha(), o.betaDkd()};
    MemorySegment.copy(numbers, 0, s, JAVA_DOUBLE, 24, numbers.length);
    return s;
  }

  /**
   * Loss and gradient; k = 0 for all of the teacher's logits.
   *
   * @param inPlace whether the gradient takes the logits' place
   */
  void distillation(
      int rows, int vocab, int k, GatedDkd.Options o, double spread, boolean inPlace, long seed) {
    Random random = new Random(seed);
    float[] z = logits(random, rows, vocab, spread, false);
    float[] t = logits(random, rows, vocab, spread, false);
    int[] y = targets(random, rows, vocab);
    for (int i = 0; i < rows; i++) {
      if (random.nextBoolean()) {
        y[i] = TeacherStatistics.of(t, i, vocab, 0).argmax(); // a target that has some mass
      }
    }
    TeacherRows teacher =
        k == 0
            ? TeacherRows.full(t, rows, vocab)
            : TeacherRows.compress(t, rows, vocab, y, k, o.temperature());
    GatedDkd.Result expected = GatedDkd.apply(z, rows, vocab, teacher, y, o);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment logits = memory.floats(z);
      MemorySegment gradient = inPlace ? logits : memory.output(4L * z.length);
      MemorySegment perToken = memory.output(8L * rows);
      MemorySegment gates = memory.output(8L * rows);
      MemorySegment total = memory.output(16);
      library.checked(
          "gkc_gated_dkd",
          options(arena, rows, vocab, k, o),
          logits,
          memory.ints(y),
          memory.floats(teacher.values()),
          k == 0 ? MemorySegment.NULL : memory.ints(teacher.ids()),
          k == 0 ? MemorySegment.NULL : memory.doubles(scalars(teacher)),
          gradient,
          perToken,
          gates,
          total,
          STREAM);
      compare(
          expected,
          z,
          t,
          y,
          rows,
          vocab,
          o,
          memory.readFloats(gradient, z.length),
          memory.readDoubles(perToken, rows),
          memory.readDoubles(gates, rows),
          memory.readDoubles(total, 2));
    }
  }

  private static double[] scalars(TeacherRows t) {
    double[] out = new double[4 * t.rows()];
    for (int i = 0; i < t.rows(); i++) {
      out[4 * i] = t.scalars().entropy()[i];
      out[4 * i + 1] = t.scalars().targetLogProb()[i];
      out[4 * i + 2] = t.scalars().logSumExp()[i];
      out[4 * i + 3] = t.scalars().nonTargetLogSumExp()[i];
    }
    return out;
  }

  /**
   * A log-probability l is float32: it is good to the sums' error and five roundings of at most |l|
   * + 2 ln vocab; its exponential to two ulps more. So a probability p is off by p times that, and
   * a gradient f (beta (p - q) - shift p) by the same share of its terms, which |gradient| and p
   * bound; the terms of the losses likewise.
   */
  private static void compare(
      GatedDkd.Result expected,
      float[] z,
      float[] t,
      int[] y,
      int rows,
      int vocab,
      GatedDkd.Options o,
      float[] gradient,
      double[] perToken,
      double[] gates,
      double[] total) {
    boolean plain = o.mode() == GatedDkd.Mode.KD;
    double weights = plain ? 2 : o.alpha() + o.betaDkd();
    double ln = Math.log(vocab);
    double gateError = o.gate() ? entropyError(vocab) / ln + 1e-12 : 1e-12;
    double sum = Arrays.stream(expected.gates()).sum();
    double lossError = 0;
    for (int i = 0; i < rows; i++) {
      Close.check("gates", i, gates[i], expected.gates()[i], gateError);
      double f = o.temperature() * expected.gates()[i] / sum;
      double[] p = logProbabilities(z, i, vocab, o.temperature());
      double[] q = logProbabilities(t, i, vocab, o.temperature());
      double rest = Math.max(1e-300, 1 - Math.exp(q[y[i]]));
      double others = 0; // error of NCKD, where non-targets count by their share of the rest
      for (int v = 0; v < vocab; v++) {
        double own = 2 * sumError(vocab) + 5 * Close.ROUNDING * (Math.abs(p[v]) + 2 * ln) + 0x1p-22;
        double d = expected.dLogits()[i * vocab + v];
        double mass = v == y[i] ? 1 : Math.exp(p[v]);
        double bound = (3 * own + 2 * gateError) * (Math.abs(d) + f * 2 * weights * mass);
        Close.check("gradient", i * vocab + v, gradient[i * vocab + v], d, bound + 1e-30);
        if (v != y[i]) {
          double both = own + 5 * Close.ROUNDING * (Math.abs(q[v]) + 2 * ln);
          others += Math.exp(q[v]) / rest * both * (2 + Math.abs(q[v] - p[v]));
        }
      }
      // TCKD: masses are off by the sums' error, the larger ones only by that of the smaller.
      double binary =
          sumError(vocab)
              * (4 + 2 * Math.abs(q[y[i]] - p[y[i]]))
              * Math.min(1, rest + rest(p, y[i]));
      double alpha = plain ? 1 : o.alpha();
      double beta = plain ? rest : o.betaDkd();
      double bound = o.temperature() * o.temperature() * (alpha * binary + beta * others) + 1e-9;
      Close.check("perToken", i, perToken[i], expected.perToken()[i], bound);
      lossError += expected.gates()[i] * bound + 2 * gateError * Math.abs(expected.perToken()[i]);
    }
    Close.check("total", 1, total[1], sum, rows * gateError);
    Close.check("total", 0, total[0], expected.loss(), lossError / sum + 1e-12);
  }

  private static double rest(double[] logProbabilities, int target) {
    return 1 - Math.exp(logProbabilities[target]);
  }

  private static double[] logProbabilities(float[] z, int row, int vocab, double temperature) {
    double most = Double.NEGATIVE_INFINITY;
    for (int v = 0; v < vocab; v++) {
      most = Math.max(most, z[row * vocab + v] / temperature);
    }
    double sum = 0;
    double[] out = new double[vocab];
    for (int v = 0; v < vocab; v++) {
      out[v] = z[row * vocab + v] / temperature - most;
      sum += Math.exp(out[v]);
    }
    for (int v = 0; v < vocab; v++) {
      out[v] -= Math.log(sum);
    }
    return out;
  }

  /** Relational loss of random states against another model's. */
  void relational(int n, int d, int teacherWidth, long seed) {
    Random random = new Random(seed);
    float[] kc = Rcka.gram(states(random, n, teacherWidth), n, teacherWidth);
    float[] v = states(random, n, d);
    Rcka.Result expected = Rcka.apply(kc, v, n, d);
    try (GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment gradient = memory.output(4L * n * d);
      MemorySegment result = memory.output(24);
      long bytes = library.callLong("gkc_rcka_bytes", n, d);
      library.checked(
          "gkc_rcka",
          memory.floats(kc),
          memory.floats(v),
          n,
          d,
          gradient,
          result,
          memory.output(bytes),
          bytes,
          STREAM);
      double[] r = memory.readDoubles(result, 3);
      float[] g = memory.readFloats(gradient, n * d);
      Close.that((r[2] == 1) == expected.skipped(), "one side skips the image");
      relationalClose(kc, v, n, d, expected, r, g);
    }
  }

  private static float[] states(Random random, int n, int d) {
    float[] v = new float[n * d];
    for (int i = 0; i < v.length; i++) {
      v[i] = (float) random.nextGaussian() + (i % d == 0 ? 2 : 0); // no tiny rows
    }
    return v;
  }

  /**
   * A similarity is a float32 dot product of d terms whose magnitudes sum to at most 1, on both
   * sides: off by e = 2 (d + 3) 2^-24, by 4 e once centered. That moves the norm of b by r = 4 n e
   * / |b| of itself, CKA by at most 2 r, and an element of the gradient g = -2 (a / |a||b| - cka b
   * / |b|^2) by 4 r of its terms and by those of 4 e; a row of g times unit vectors adds n + 4
   * roundings, the projection doubles all.
   */
  private static void relationalClose(
      float[] kc, float[] v, int n, int d, Rcka.Result expected, double[] r, float[] gradient) {
    if (expected.skipped()) {
      Close.check("loss", 0, r[0], 0, 0);
      Close.check("gradient", gradient, new float[n * d], 0);
      return;
    }
    float[] b = Rcka.gram(v, n, d);
    double tt = squares(kc);
    double ss = squares(b);
    double ab = Math.sqrt(tt * ss);
    double e = 4 * 2 * (d + 3) * Close.ROUNDING;
    double share = n * e / Math.sqrt(ss);
    Close.check("loss", 0, r[0], expected.loss(), 2 * share + 1e-12);
    Close.check("cka", 0, r[1], expected.cka(), 2 * share + 1e-12);
    for (int i = 0; i < n; i++) {
      double off = 0;
      double norm = 0;
      for (int j = 0; j < n; j++) {
        double terms =
            2 * (Math.abs(kc[i * n + j]) / ab + expected.cka() * Math.abs(b[i * n + j]) / ss);
        off += terms * (4 * share + (n + 4) * 2 * Close.ROUNDING) + 2 * e / ab + 2 * e / ss;
      }
      for (int j = 0; j < d; j++) {
        norm += (double) v[i * d + j] * v[i * d + j];
      }
      for (int j = 0; j < d; j++) {
        int at = i * d + j;
        Close.check("gradient", at, gradient[at], expected.dV()[at], 2 * off / Math.sqrt(norm));
      }
    }
  }

  private static double squares(float[] a) {
    double sum = 0;
    for (float x : a) {
      sum += (double) x * x;
    }
    return sum;
  }
}
