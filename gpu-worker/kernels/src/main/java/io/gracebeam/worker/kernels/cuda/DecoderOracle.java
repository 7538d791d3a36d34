package io.gracebeam.worker.kernels.cuda;

import io.gracebeam.worker.kernels.Bf16;
import io.gracebeam.worker.kernels.DecoderShape;
import java.util.Arrays;
import java.util.List;

/**
 * A decoder in double precision on one sequence.
 *
 * @param rounded whether inputs of products are rounded to bfloat16 and cached keys and values to
 *     kvBits, where the kernels round them
 */
record DecoderOracle(
    DecoderShape shape,
    List<Layer> layers,
    float[] norm,
    float[] head,
    int kvBits,
    boolean rounded) {

  /** Dense weights of a layer, as in DecoderWeights; bias may be null. */
  record Layer(
      float[] norm,
      float[] qkv,
      float[] bias,
      float[] out,
      float[] mlpNorm,
      float[] gateUp,
      float[] down) {}

  /** Cosines and sines of positions, [positions, 2, dim / 2]. */
  static float[] rope(int[] positions, int dim) {
    float[] out = new float[positions.length * dim];
    for (int i = 0; i < positions.length; i++) {
      for (int k = 0; k < dim / 2; k++) {
        double angle = positions[i] * Math.pow(100, -2.0 * k / dim);
        out[i * dim + k] = (float) Math.cos(angle);
        out[i * dim + dim / 2 + k] = (float) Math.sin(angle);
      }
    }
    return out;
  }

  /** Logits of every position, [positions, vocab]. */
  double[] logits(float[] input) {
    int n = input.length / shape.width();
    double[] x = new double[input.length];
    Arrays.setAll(x, i -> input[i]);
    int[] positions = new int[n];
    Arrays.setAll(positions, i -> i);
    float[] rope = rope(positions, shape.headDim());
    for (Layer l : layers) {
      double[] qkv = times(normed(x, l.norm()), l.qkv(), shape.width());
      rotate(qkv, l.bias(), rope, n);
      double[] mixed = new double[n * shape.heads() * shape.headDim()];
      for (int row = 0; row < n; row++) {
        for (int head = 0; head < shape.heads(); head++) {
          attend(qkv, row, head, mixed);
        }
      }
      add(x, times(round(mixed), l.out(), shape.heads() * shape.headDim()));
      double[] gateUp = times(normed(x, l.mlpNorm()), l.gateUp(), shape.width());
      add(x, times(round(gated(gateUp, n)), l.down(), shape.mlp()));
    }
    return times(normed(x, norm), head, shape.width());
  }

  private double[] round(double[] v) {
    for (int i = 0; rounded && i < v.length; i++) {
      v[i] = Bf16.round((float) v[i]);
    }
    return v;
  }

  private double[] gated(double[] gateUp, int n) {
    int mlp = shape.mlp();
    double[] out = new double[n * mlp];
    for (int i = 0; i < out.length; i++) {
      double g = gateUp[i / mlp * 2 * mlp + i % mlp];
      out[i] = g / (1 + Math.exp(-g)) * gateUp[i / mlp * 2 * mlp + mlp + i % mlp];
    }
    return out;
  }

  private void rotate(double[] qkv, float[] bias, float[] rope, int n) {
    int dim = shape.headDim();
    int all = shape.heads() + 2 * shape.kvHeads();
    for (int i = 0; i < qkv.length; i++) {
      qkv[i] += bias == null ? 0 : bias[i % (all * dim)];
    }
    for (int row = 0; row < n; row++) {
      for (int head = 0; head < all; head++) {
        int at = (row * all + head) * dim;
        for (int k = 0; k < dim / 2 && head < shape.heads() + shape.kvHeads(); k++) {
          double cos = rope[row * dim + k];
          double sin = rope[row * dim + dim / 2 + k];
          double a = qkv[at + k];
          double b = qkv[at + dim / 2 + k];
          qkv[at + k] = a * cos - b * sin;
          qkv[at + dim / 2 + k] = b * cos + a * sin;
        }
        if (head >= shape.heads() && rounded) {
          cache(qkv, at, dim, kvBits);
        }
      }
    }
  }

  /** Rounds a head as the cache does. */
  static void cache(double[] v, int at, int dim, int kvBits) {
    double absmax = 0;
    for (int k = 0; k < dim; k++) {
      absmax = Math.max(absmax, Math.abs(v[at + k]));
    }
    for (int k = 0; k < dim; k++) {
      v[at + k] =
          kvBits == 16
              ? Bf16.round((float) v[at + k])
              : Math.rint(v[at + k] * 127 / absmax) * absmax / 127;
    }
  }

  private void attend(double[] qkv, int row, int head, double[] mixed) {
    int dim = shape.headDim();
    int all = shape.heads() + 2 * shape.kvHeads();
    int kv = shape.heads() + head / (shape.heads() / shape.kvHeads());
    double[] p = new double[row + 1];
    double total = 0;
    for (int t = 0; t <= row; t++) {
      double dot = 0;
      for (int k = 0; k < dim; k++) {
        dot += qkv[(row * all + head) * dim + k] * qkv[(t * all + kv) * dim + k];
      }
      p[t] = Math.exp(dot / Math.sqrt(dim));
      total += p[t];
    }
    for (int t = 0; t <= row; t++) {
      for (int k = 0; k < dim; k++) {
        mixed[(row * shape.heads() + head) * dim + k] +=
            p[t] / total * qkv[(t * all + kv + shape.kvHeads()) * dim + k];
      }
    }
  }

  private double[] normed(double[] x, float[] weight) {
    int width = weight.length;
    double[] out = new double[x.length];
    for (int i = 0; i < x.length; i += width) {
      double squares = 0;
      for (int k = 0; k < width; k++) {
        squares += x[i + k] * x[i + k];
      }
      for (int k = 0; k < width; k++) {
        out[i + k] = x[i + k] / Math.sqrt(squares / width + shape.eps()) * weight[k];
      }
    }
    return round(out);
  }

  /** x [rows, cols] times w [outputs, cols] transposed. */
  private static double[] times(double[] x, float[] w, int cols) {
    int outputs = w.length / cols;
    double[] out = new double[x.length / cols * outputs];
    for (int i = 0; i < out.length; i++) {
      for (int c = 0; c < cols; c++) {
        out[i] += x[i / outputs * cols + c] * w[i % outputs * cols + c];
      }
    }
    return out;
  }

  private static void add(double[] x, double[] y) {
    for (int i = 0; i < x.length; i++) {
      x[i] += y[i];
    }
  }
}
