package io.gracebeam.worker.kernels;

/**
 * Relational loss 1 - CKA between the token similarity matrices of teacher and student (GRACE,
 * arXiv 2601.22709, section 3; CKA, arXiv 1905.00414). Rows are divided by their L2 norm, K = V
 * V^T, centered on rows and columns; CKA = &lt;A, B&gt; / (|A| |B|) with Frobenius norms. Only n
 * must agree between the two models.
 */
public final class Rcka {
  private static final String WHERE = "Rcka";

  /** Images with fewer visual tokens are skipped. */
  public static final int MIN_TOKENS = 4;

  /** Images whose centered similarity matrix has a smaller sum of squares are skipped. */
  public static final double MIN_SQUARES = 1e-8;

  /** Bytes for similarities where nothing else is said. */
  public static final long MEMORY = 256L << 20;

  private static final double EPS = 1e-12;

  private Rcka() {}

  /**
   * Value and gradient of one image.
   *
   * @param loss 1 - cka, in [0, 1]; 0 when skipped
   * @param cka the similarity; 1 when skipped
   * @param dV gradient of the loss with respect to the student's states, [n, d]; zeros when skipped
   * @param skipped whether the image has too few tokens or no structure
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Result(double loss, double cka, float[] dV, boolean skipped) {}

  /** Centered similarity matrix {@code [n, n]} of states {@code v [n, d]}; symmetric. */
  public static float[] gram(float[] v, int n, int d) {
    checkStates(v, n, d);
    return KernelProvider.best().losses().gram(v, n, d);
  }

  /** Plain Java, except for the product. */
  static float[] gram(ProductKernels products, float[] v, int n, int d) {
    return centered(similarities(products, normalized(v, n, d, new double[n]), n, d), n);
  }

  /** {@link #apply(float[], float[], int, int, long)} with {@link #MEMORY}. */
  public static Result apply(float[] kcT, float[] vS, int n, int d) {
    return apply(kcT, vS, n, d, MEMORY);
  }

  /**
   * Loss against the teacher's centered matrix {@code kcT [n, n]} for student states {@code vS [n,
   * d]}. With less memory than the student's similarities need, some of their rows are computed at
   * a time, again in each pass over them; that changes no bit.
   *
   * @param bytes bound of the memory beside arguments and result: of all of it on the native
   *     kernels, which take what 16 rows and one row's similarities need at least; of the
   *     similarities in Java, which takes a row at least and holds copies of the states beside them
   * @throws IllegalArgumentException on wrong sizes or numbers that are not finite
   */
  public static Result apply(float[] kcT, float[] vS, int n, int d, long bytes) {
    checkStates(vS, n, d);
    Checks.length(WHERE, "kcT", kcT.length, Checks.product(WHERE, n, n));
    Checks.finite(WHERE, "kcT", kcT, 0, kcT.length);
    return KernelProvider.best().losses().rcka(kcT, vS, n, d, bytes);
  }

  /** Plain Java, except for the products. */
  static Result apply(ProductKernels products, float[] kcT, float[] vS, int n, int d, long bytes) {
    if (n < MIN_TOKENS) {
      return skip(n, d);
    }
    Relation r = new Relation(products, kcT, vS, n, d, bytes);
    double tt = 0;
    double ss = 0;
    double ts = 0;
    for (int first = 0; first < n; first += r.rows) {
      r.center(first);
      for (int i = 0; i < r.count * n; i++) {
        tt += (double) r.a[i] * r.a[i];
        ss += (double) r.b[i] * r.b[i];
        ts += (double) r.a[i] * r.b[i];
      }
    }
    if (tt < MIN_SQUARES || ss < MIN_SQUARES) {
      return skip(n, d);
    }
    double ab = Math.sqrt(tt) * Math.sqrt(ss);
    double cka = Math.max(0, Math.min(1, ts / ab));
    float[] dV = new float[vS.length];
    for (int first = 0; first < n; first += r.rows) {
      if (r.rows < n) {
        r.center(first);
      }
      float[] g = r.b;
      for (int i = 0; i < r.count * n; i++) {
        g[i] = (float) (-2 * (r.a[i] / ab - ts / ab * r.b[i] / ss));
      }
      r.gradient(g, dV);
    }
    return new Result(1 - cka, cka, dV, false);
  }

  /** Some rows at a time of both centered matrices. */
  private static final class Relation {
    private final ProductKernels products;
    private final float[] kcT;
    private final int n;
    private final int d;
    private final double[] norms;
    private final float[] unit;
    private final float[] transposed;
    private final double[] meanT;
    private final double[] mean;
    private final double allT;
    private final double all;
    final int rows; // at a time
    final float[] a; // the teacher's, [rows, n]
    final float[] b; // the student's
    int first;
    int count;

    /** Computes what all rows share; the similarities of the last rows are kept. */
    Relation(ProductKernels products, float[] kcT, float[] v, int n, int d, long bytes) {
      this.products = products;
      this.kcT = kcT;
      this.n = n;
      this.d = d;
      this.norms = new double[n];
      this.unit = normalized(v, n, d, norms);
      this.transposed = transposed(unit, n, d);
      this.rows = (int) Math.max(1, Math.min(n, bytes / (2L * Float.BYTES * n)));
      this.a = new float[rows * n];
      this.b = new float[rows * n];
      this.meanT = new double[n];
      means(kcT, 0, n, n, meanT);
      this.allT = mean(meanT);
      this.mean = new double[n];
      for (int i = 0; i < n; i += rows) {
        similarities(i);
        means(b, first, count, n, mean);
      }
      this.all = mean(mean);
    }

    private void similarities(int from) {
      first = from;
      count = Math.min(rows, n - from);
      float[] own = java.util.Arrays.copyOfRange(unit, first * d, (first + count) * d);
      products.dense(own, count, unit, n, d, b);
    }

    /**
     * Centers the rows from there on. Where all rows fit at once, their similarities are there
     * already.
     */
    void center(int from) {
      if (rows < n) {
        similarities(from);
      }
      for (int i = first; i < first + count; i++) {
        for (int j = 0; j < n; j++) {
          // A matrix that was rounded for storage is no longer centered; centering again keeps the
          // gradient exact.
          float k = kcT[i < j ? i * n + j : j * n + i];
          int at = (i - first) * n + j;
          a[at] = centered(k, meanT, allT, i, j);
          b[at] = centered(b[at], mean, all, i, j);
        }
      }
    }

    /**
     * From the gradient g [count, n] with respect to the similarities to the gradient with respect
     * to the states.
     */
    void gradient(float[] g, float[] dV) {
      float[] own = new float[count * d];
      products.dense(g, count, transposed, d, n, own);
      for (int i = first; i < first + count; i++) {
        double dot = 0;
        for (int j = 0; j < d; j++) {
          dot += (double) own[(i - first) * d + j] * unit[i * d + j];
        }
        for (int j = 0; j < d; j++) {
          dV[i * d + j] =
              norms[i] < EPS
                  ? 0f
                  : (float) ((own[(i - first) * d + j] - dot * unit[i * d + j]) / norms[i]);
        }
      }
    }
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

  private static float[] normalized(float[] v, int n, int d, double[] norms) {
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

  private static float[] similarities(ProductKernels products, float[] unit, int n, int d) {
    float[] k = new float[n * n];
    products.dense(unit, n, unit, n, d, k);
    return k;
  }

  private static float[] transposed(float[] unit, int n, int d) {
    float[] out = new float[unit.length];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < d; j++) {
        out[j * n + i] = unit[i * d + j];
      }
    }
    return out;
  }

  private static float[] centered(float[] k, int n) {
    double[] mean = new double[n];
    means(k, 0, n, n, mean);
    double all = mean(mean);
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        k[i * n + j] = centered(k[i * n + j], mean, all, i, j);
      }
    }
    return k;
  }

  /** Less the lower row's mean and then the higher one's, so that the result is symmetric. */
  private static float centered(float k, double[] mean, double all, int i, int j) {
    return (float) (k - mean[Math.min(i, j)] - mean[Math.max(i, j)] + all);
  }

  /** Means of rows k [count, n], which are the matrix's from the first on. */
  private static void means(float[] k, int first, int count, int n, double[] mean) {
    for (int i = 0; i < count; i++) {
      double sum = 0;
      for (int j = 0; j < n; j++) {
        sum += k[i * n + j];
      }
      mean[first + i] = sum / n;
    }
  }

  private static double mean(double[] mean) {
    double out = 0;
    for (double m : mean) {
      out += m / mean.length;
    }
    return out;
  }
}
