package io.gracebeam.worker.kernels;

/**
 * Relational loss 1 - CKA between the token similarity matrices of teacher and student (GRACE,
 * arXiv 2601.22709, section 3; CKA, arXiv 1905.00414). Rows are divided by their L2 norm, K = V
 * V^T, centred on rows and columns; CKA = &lt;A, B&gt; / (|A| |B|) with Frobenius norms. Only n
 * must agree between the two models.
 */
public final class Rcka {
  private static final String WHERE = "Rcka";

  /** Images with fewer visual tokens are skipped. */
  public static final int MIN_TOKENS = 4;

  /** Images whose centred similarity matrix has a smaller sum of squares are skipped. */
  public static final double MIN_SQUARES = 1e-8;

  private static final double EPS = 1e-12;

  private Rcka() {}

  /**
   * Value and gradient of one image.
   *
   * @param loss 1 - cka, in [0, 1]; 0 when skipped
   * @param cka the similarity; 1 when skipped
   * @param dV gradient by the student's states, [n, d]; zeros when skipped
   * @param skipped whether the image has too few tokens or no structure
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Result(double loss, double cka, float[] dV, boolean skipped) {}

  /** Centred similarity matrix {@code [n, n]} of states {@code v [n, d]}; symmetric. */
  public static float[] gram(float[] v, int n, int d) {
    checkStates(v, n, d);
    return KernelProvider.best().gram(v, n, d);
  }

  /** In plain Java, but for the product. */
  static float[] gram(Kernels kernels, float[] v, int n, int d) {
    return centred(similarities(kernels, normalised(v, n, d, new double[n]), n, d), n);
  }

  /**
   * Loss against the teacher's centred matrix {@code kcT [n, n]} for student states {@code vS [n,
   * d]}.
   *
   * @throws IllegalArgumentException on wrong sizes or numbers that are not finite
   */
  public static Result apply(float[] kcT, float[] vS, int n, int d) {
    checkStates(vS, n, d);
    Checks.length(WHERE, "kcT", kcT.length, Checks.product(WHERE, n, n));
    Checks.finite(WHERE, "kcT", kcT, 0, kcT.length);
    return KernelProvider.best().rcka(kcT, vS, n, d);
  }

  /** In plain Java, but for the products. */
  static Result apply(Kernels kernels, float[] kcT, float[] vS, int n, int d) {
    double[] norms = new double[n];
    float[] unit = normalised(vS, n, d, norms);
    if (n < MIN_TOKENS) {
      return skip(n, d);
    }
    // A matrix that was rounded for storage is no longer centred; centring again keeps the gradient
    // exact.
    float[] a = centred(kcT, n);
    float[] b = centred(similarities(kernels, unit, n, d), n);
    double tt = 0;
    double ss = 0;
    double ts = 0;
    for (int i = 0; i < b.length; i++) {
      tt += (double) a[i] * a[i];
      ss += (double) b[i] * b[i];
      ts += (double) a[i] * b[i];
    }
    if (tt < MIN_SQUARES || ss < MIN_SQUARES) {
      return skip(n, d);
    }
    double ab = Math.sqrt(tt) * Math.sqrt(ss);
    double cka = Math.max(0, Math.min(1, ts / ab));
    float[] g = new float[b.length];
    for (int i = 0; i < g.length; i++) {
      g[i] = (float) (-2 * (a[i] / ab - ts / ab * b[i] / ss));
    }
    float[] transposed = new float[unit.length];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < d; j++) {
        transposed[j * n + i] = unit[i * d + j];
      }
    }
    float[] dV = new float[unit.length];
    kernels.dense(g, n, transposed, d, n, dV);
    for (int i = 0; i < n; i++) {
      double dot = 0;
      for (int j = i * d; j < (i + 1) * d; j++) {
        dot += (double) dV[j] * unit[j];
      }
      for (int j = i * d; j < (i + 1) * d; j++) {
        dV[j] = norms[i] < EPS ? 0f : (float) ((dV[j] - dot * unit[j]) / norms[i]);
      }
    }
    return new Result(1 - cka, cka, dV, false);
  }

  /**
   * Upper triangle with diagonal, row by row: n (n + 1) / 2 numbers of a symmetric {@code k [n,
   * n]}.
   */
  public static float[] packUpper(float[] k, int n) {
    Checks.positive(WHERE, "n", n);
    Checks.length(WHERE, "k", k.length, Checks.product(WHERE, n, n));
    float[] out = new float[upperLength(n)];
    int at = 0;
    for (int i = 0; i < n; i++) {
      for (int j = i; j < n; j++) {
        out[at++] = k[i * n + j];
      }
    }
    return out;
  }

  /** Inverse of {@link #packUpper}: the symmetric matrix {@code [n, n]}. */
  public static float[] unpackUpper(float[] upper, int n) {
    Checks.positive(WHERE, "n", n);
    float[] k = new float[Checks.product(WHERE, n, n)];
    Checks.length(WHERE, "upper", upper.length, upperLength(n));
    int at = 0;
    for (int i = 0; i < n; i++) {
      for (int j = i; j < n; j++) {
        k[i * n + j] = upper[at];
        k[j * n + i] = upper[at++];
      }
    }
    return k;
  }

  /** {@link #packUpper} in raw bfloat16. */
  public static short[] packUpperBf16(float[] k, int n) {
    return Bf16.fromFloats(packUpper(k, n));
  }

  /** Inverse of {@link #packUpperBf16}. */
  public static float[] unpackUpperBf16(short[] upper, int n) {
    return unpackUpper(Bf16.toFloats(upper), n);
  }

  /** Numbers in the upper triangle, n (n + 1) / 2. */
  public static int upperLength(int n) {
    Checks.positive(WHERE, "n", n);
    return (int) ((long) n * (n + 1) / 2);
  }

  private static Result skip(int n, int d) {
    return new Result(0, 1, new float[n * d], true);
  }

  private static void checkStates(float[] v, int n, int d) {
    Checks.positive(WHERE, "n", n);
    Checks.positive(WHERE, "d", d);
    Checks.length(WHERE, "v", v.length, Checks.product(WHERE, n, d));
    Checks.product(WHERE, n, n);
    Checks.finite(WHERE, "v", v, 0, v.length);
  }

  private static float[] normalised(float[] v, int n, int d, double[] norms) {
    float[] unit = new float[v.length];
    for (int i = 0; i < n; i++) {
      double sum = 0;
      for (int j = i * d; j < (i + 1) * d; j++) {
        sum += (double) v[j] * v[j];
      }
      norms[i] = Math.sqrt(sum);
      double inv = 1 / Math.max(EPS, norms[i]);
      for (int j = i * d; j < (i + 1) * d; j++) {
        unit[j] = (float) (v[j] * inv);
      }
    }
    return unit;
  }

  private static float[] similarities(Kernels kernels, float[] unit, int n, int d) {
    float[] k = new float[n * n];
    kernels.dense(unit, n, unit, n, d, k);
    return k;
  }

  private static float[] centred(float[] k, int n) {
    double[] mean = new double[n];
    double all = 0;
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        mean[i] += k[i * n + j];
      }
      mean[i] /= n;
      all += mean[i] / n;
    }
    float[] out = new float[k.length];
    for (int i = 0; i < n; i++) {
      for (int j = i; j < n; j++) {
        float c = (float) (k[i * n + j] - mean[i] - mean[j] + all);
        out[i * n + j] = c;
        out[j * n + i] = c;
      }
    }
    return out;
  }
}
