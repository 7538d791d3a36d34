package io.gracebeam.worker.methods.image;

/**
 * Bicubic resampling of 8-bit RGB images bit for bit as Pillow does it: antialiased (the filter
 * widens when shrinking), separable, horizontal pass first, coefficients in fixed point of 22 bits,
 * rounded to 8 bits after each pass.
 */
public final class PillowResize {
  private static final int PRECISION = 32 - 8 - 2;
  private static final double SUPPORT = 2.0;
  private static final double A = -0.5;

  private PillowResize() {}

  /** Fixed-point weights of one axis: output i takes counts[i] inputs from starts[i]. */
  private record Weights(int[] starts, int[] counts, int[][] values) {}

  /** RGB bytes [height, width, 3] -> [toHeight, toWidth, 3]. */
  public static byte[] resize(byte[] in, int width, int height, int toWidth, int toHeight) {
    byte[] out = in;
    if (toWidth != width) {
      out = horizontal(out, width, height, toWidth);
    }
    if (toHeight != height) {
      out = vertical(out, toWidth, height, toHeight);
    }
    return out;
  }

  private static byte[] horizontal(byte[] in, int width, int height, int toWidth) {
    Weights weights = weights(width, toWidth);
    byte[] out = new byte[Math.multiplyExact(Math.multiplyExact(height, toWidth), 3)];
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < toWidth; x++) {
        accumulate(
            in, (y * width + weights.starts[x]) * 3, 3, weights, x, out, (y * toWidth + x) * 3);
      }
    }
    return out;
  }

  private static byte[] vertical(byte[] in, int width, int height, int toHeight) {
    Weights weights = weights(height, toHeight);
    byte[] out = new byte[Math.multiplyExact(Math.multiplyExact(toHeight, width), 3)];
    for (int y = 0; y < toHeight; y++) {
      for (int x = 0; x < width; x++) {
        accumulate(
            in,
            (weights.starts[y] * width + x) * 3,
            width * 3,
            weights,
            y,
            out,
            (y * width + x) * 3);
      }
    }
    return out;
  }

  private static void accumulate(
      byte[] in, int from, int stride, Weights weights, int index, byte[] out, int to) {
    int[] values = weights.values[index];
    int red = 1 << (PRECISION - 1);
    int green = red;
    int blue = red;
    int at = from;
    for (int i = 0; i < weights.counts[index]; i++) {
      red += (in[at] & 255) * values[i];
      green += (in[at + 1] & 255) * values[i];
      blue += (in[at + 2] & 255) * values[i];
      at += stride;
    }
    out[to] = clip(red);
    out[to + 1] = clip(green);
    out[to + 2] = clip(blue);
  }

  private static byte clip(int sum) {
    return (byte) Math.max(0, Math.min(255, sum >> PRECISION));
  }

  private static Weights weights(int from, int to) {
    double scale = (double) from / to;
    double filterScale = Math.max(scale, 1.0);
    double support = SUPPORT * filterScale;
    int[] starts = new int[to];
    int[] counts = new int[to];
    int[][] values = new int[to][];
    for (int i = 0; i < to; i++) {
      double center = (i + 0.5) * scale;
      int start = Math.max(0, (int) (center - support + 0.5));
      int count = Math.min(from, (int) (center + support + 0.5)) - start;
      double[] weight = new double[count];
      double sum = 0;
      double inverse = 1.0 / filterScale;
      for (int j = 0; j < count; j++) {
        weight[j] = bicubic((j + start - center + 0.5) * inverse);
        sum += weight[j];
      }
      values[i] = new int[count];
      for (int j = 0; j < count; j++) {
        double normal = sum != 0.0 ? weight[j] * (1.0 / sum) : weight[j];
        values[i][j] = (int) (normal * (1 << PRECISION) + (normal < 0 ? -0.5 : 0.5));
      }
      starts[i] = start;
      counts[i] = count;
    }
    return new Weights(starts, counts, values);
  }

  private static double bicubic(double at) {
    double x = Math.abs(at);
    if (x < 1.0) {
      return ((A + 2.0) * x - (A + 3.0)) * x * x + 1;
    }
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * A : 0.0;
  }
}
