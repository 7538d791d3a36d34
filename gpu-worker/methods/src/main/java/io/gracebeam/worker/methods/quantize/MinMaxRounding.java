package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import java.util.stream.IntStream;

/**
 * Rounding to nearest with zero points: of a group whose weights lie within [low, high], widened to
 * enclose 0, the scale is (high - low) / (2^bits - 1) and the zero point rint(-low / scale), which
 * becomes a code in [-2^(bits-1), 2^(bits-1) - 1]. The grid of GPTQ's reference and of
 * compressed-tensors; halves round to even.
 */
final class MinMaxRounding {
  private MinMaxRounding() {}

  /** Rounds w [rows, cols] with the whole range of each group. */
  static PackedWeight round(float[] w, int rows, int cols, QuantSpec spec) {
    return quantize(w, rows, cols, spec, (from, to) -> Grid.of(w, from, to, 1, spec));
  }

  /**
   * Rounds w [rows, cols] with the range of least squared error among the whole one and its
   * products with {@link LogScaleQuantizer#ratio}.
   */
  static PackedWeight search(float[] w, int rows, int cols, QuantSpec spec) {
    return quantize(
        w,
        rows,
        cols,
        spec,
        (from, to) -> {
          Grid best = Grid.of(w, from, to, 1, spec);
          double least = best.error(w, from, to);
          for (int k = 0; k < LogScaleQuantizer.STEPS; k++) {
            Grid grid = Grid.of(w, from, to, LogScaleQuantizer.ratio(k), spec);
            double error = grid.error(w, from, to);
            if (error < least) {
              least = error;
              best = grid;
            }
          }
          return best;
        });
  }

  private interface Choice {
    /** The grid for the elements from {@code from} to before {@code to}. */
    Grid of(int from, int to);
  }

  private static PackedWeight quantize(
      float[] w, int rows, int cols, QuantSpec spec, Choice choice) {
    int group = spec.groupSize();
    float[] scales = new float[spec.groups(rows, cols)];
    byte[] zeros = new byte[scales.length];
    byte[] codes = new byte[w.length];
    IntStream.range(0, scales.length)
        .parallel()
        .forEach(
            g -> {
              int from = g * group;
              Grid grid = choice.of(from, from + group);
              scales[g] = grid.scale;
              zeros[g] = (byte) grid.zero;
              for (int i = from; i < from + group; i++) {
                codes[i] = (byte) grid.code(w[i]);
              }
            });
    return PackedWeight.pack(codes, scales, zeros, rows, cols, spec);
  }

  /** What the codes of a group stand for: scale * (code - zero), code within [-qn, qp]. */
  private record Grid(float scale, int zero, int qn, int qp) {
    static Grid of(float[] w, int from, int to, double ratio, QuantSpec spec) {
      float low = 0;
      float high = 0;
      for (int i = from; i < to; i++) {
        low = Math.min(low, w[i]);
        high = Math.max(high, w[i]);
      }
      float scale = (float) (ratio * (high - low) / (spec.qn() + spec.qp()));
      scale = Math.max(LogScaleQuantizer.MIN_SCALE, Math.min(LogScaleQuantizer.MAX_SCALE, scale));
      // A range of less than the group's keeps the share of both ends.
      int zero = (int) Math.rint(-ratio * low / scale) - spec.qn();
      int within = Math.max(-spec.qn(), Math.min(spec.qp(), zero));
      return new Grid(scale, within, spec.qn(), spec.qp());
    }

    int code(float weight) {
      return Math.max(-qn, Math.min(qp, (int) Math.rint(weight / scale) + zero));
    }

    double error(float[] w, int from, int to) {
      double sum = 0;
      for (int i = from; i < to; i++) {
        double d = w[i] - (double) scale * (code(w[i]) - zero);
        sum += d * d;
      }
      return sum;
    }
  }
}
