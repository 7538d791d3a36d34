package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.abort;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The decoder in C against plain loops in double precision, and its independence of grouping. */
class PackedDecoderTest {
  private static final int POSITIONS = 40;

  private static NativeLibrary library() {
    try {
      return NativeLibrary.load();
    } catch (UnsupportedOperationException e) {
      return abort("without native kernels: " + e.getMessage());
    }
  }

  private static Matrix matrix(Random random, int bits, int group, int rows, int cols) {
    float[] w = QuantizerTest.random(random, rows * cols);
    for (int i = 0; i < w.length; i++) {
      w[i] /= (float) Math.sqrt(cols);
    }
    if (bits == 32) {
      return new FloatWeight(rows, cols, w);
    }
    if (bits == 16) {
      short[] values = new short[w.length];
      for (int i = 0; i < w.length; i++) {
        values[i] = (short) (Float.floatToRawIntBits(w[i]) >>> 16);
      }
      return new Bf16Weight(rows, cols, values);
    }
    QuantSpec spec = QuantSpec.of(bits, group, false, rows, cols);
    return PackedWeight.quantize(
        w, LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec), rows, cols, spec);
  }

  private static float[] values(Matrix m) {
    if (m instanceof PackedWeight w) {
      float[] out = new float[w.rows() * w.cols()];
      new ScalarProducts().dequantize(w, out);
      return out;
    }
    if (m instanceof FloatWeight f) {
      return f.values();
    }
    Bf16Weight b = (Bf16Weight) m;
    float[] out = new float[b.values().length];
    for (int i = 0; i < out.length; i++) {
      out[i] = Float.intBitsToFloat(b.values()[i] << 16);
    }
    return out;
  }

  private static DecoderWeights weights(DecoderShape s, int bits, int headBits, boolean bias) {
    Random random = new Random(7);
    List<DecoderWeights.Layer> layers = new ArrayList<>();
    for (int i = 0; i < s.layers(); i++) {
      layers.add(
          new DecoderWeights.Layer(
              norm(random, s.width()),
              matrix(random, bits, 8, s.qkv(), s.width()),
              bias ? QuantizerTest.random(random, s.qkv()) : null,
              matrix(random, bits, 8, s.width(), s.heads() * s.headDim()),
              norm(random, s.width()),
              matrix(random, bits, 8, 2 * s.mlp(), s.width()),
              matrix(random, bits, 8, s.width(), s.mlp())));
    }
    return new DecoderWeights(
        s,
        layers,
        norm(random, s.width()),
        matrix(random, headBits, s.width(), s.vocab(), s.width()));
  }

  private static float[] norm(Random random, int n) {
    float[] out = new float[n];
    for (int i = 0; i < n; i++) {
      out[i] = 0.5f + random.nextFloat();
    }
    return out;
  }

  private static float[] rope(int[] positions, int dim) {
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

  /** Logits of every row of one sequence, computed in one call. */
  private static float[] run(PackedDecoder.Session d, int slot, float[] x) {
    int n = x.length / d.shape().width();
    int[] slots = new int[n];
    Arrays.fill(slots, slot);
    int[] positions = new int[n];
    Arrays.setAll(positions, i -> i);
    float[] states = x.clone();
    d.forward(slots, positions, rope(positions, d.shape().headDim()), states);
    return d.logits(states);
  }

  @ParameterizedTest
  @CsvSource({
    "4, 16, 16, false, 4, 2, 12",
    "4, 8, 8, true, 6, 1, 16",
    "3, 4, 16, true, 3, 3, 32",
    "16, 32, 16, false, 4, 2, 20",
    "32, 16, 16, false, 4, 2, 20",
    "8, 8, 8, false, 2, 2, 4"
  })
  void logitsAreThoseOfPlainLoops(
      int bits, int headBits, int kvBits, boolean bias, int heads, int kvHeads, int headDim) {
    DecoderShape shape = new DecoderShape(2, 48, heads, kvHeads, headDim, 40, 37, 1e-5f);
    DecoderWeights w = weights(shape, bits, headBits, bias);
    NativeLibrary library = library();
    float[] x = QuantizerTest.random(new Random(9), 21 * shape.width());
    double[] expected = new Oracle(w, kvBits).logits(x);
    float[] first = null;
    for (int isa = 0; isa <= library.bestIsa(); isa++) {
      try (NativeKernels kernels = new NativeKernels(library, isa, 1 + isa, new ScalarProducts());
          PackedDecoder decoder = new PackedDecoder(kernels, w);
          PackedDecoder.Session d =
              decoder.open(new PackedDecoder.Limits(2, POSITIONS, 24, kvBits))) {
        float[] logits = run(d, 1, x);
        for (int i = 0; i < logits.length; i++) {
          assertThat((double) logits[i])
              .as("logit %d", i)
              .isCloseTo(expected[i], within(kvBits == 8 ? 2e-2 : 2e-3));
        }
        first = first == null ? logits : first;
        assertThat(logits).as("instruction set %d", isa).isEqualTo(first);
        assertThat(decoder.weightBytes()).isPositive();
        assertThat(d.bytes()).isPositive();
      }
    }
  }

  @Test
  void rowsMayComeInAnyGrouping() {
    DecoderShape shape = new DecoderShape(3, 32, 4, 2, 8, 48, 29, 1e-6f);
    DecoderWeights w = weights(shape, 4, 8, true);
    NativeLibrary library = library();
    int width = shape.width();
    float[] a = QuantizerTest.random(new Random(1), 17 * width);
    float[] b = QuantizerTest.random(new Random(2), 11 * width);
    try (NativeKernels kernels =
            new NativeKernels(library, library.bestIsa(), 2, new ScalarProducts());
        PackedDecoder decoder = new PackedDecoder(kernels, w);
        PackedDecoder.Session d = decoder.open(new PackedDecoder.Limits(3, POSITIONS, 32, 16))) {
      float[] wholeA = run(d, 0, a);
      float[] wholeB = run(d, 2, b);
      // Both sequences again, in turn, in other slots: 5 rows of a, then always one of each.
      float[] head = Arrays.copyOf(a, 5 * width);
      run(d, 1, head);
      for (int i = 0; i < 11; i++) {
        float[] x = new float[2 * width];
        System.arraycopy(a, (5 + i) * width, x, 0, width);
        System.arraycopy(b, i * width, x, width, width);
        int[] positions = {5 + i, i};
        d.forward(new int[] {1, 0}, positions, rope(positions, 8), x);
        float[] logits = d.logits(x);
        assertThat(Arrays.copyOf(logits, 29))
            .isEqualTo(Arrays.copyOfRange(wholeA, (5 + i) * 29, (6 + i) * 29));
        assertThat(Arrays.copyOfRange(logits, 29, 58))
            .isEqualTo(Arrays.copyOfRange(wholeB, i * 29, (i + 1) * 29));
      }
    }
  }

  @Test
  void wrongArgumentsAreNamed() {
    DecoderShape shape = new DecoderShape(1, 16, 2, 1, 8, 16, 9, 1e-6f);
    DecoderWeights w = weights(shape, 4, 4, false);
    NativeLibrary library = library();
    try (NativeKernels kernels = new NativeKernels(library, 0, 1, new ScalarProducts());
        PackedDecoder decoder = new PackedDecoder(kernels, w);
        PackedDecoder.Session d = decoder.open(new PackedDecoder.Limits(1, 4, 2, 8))) {
      float[] x = new float[16];
      float[] rope = rope(new int[1], 8);
      assertThatThrownBy(() -> d.forward(new int[] {1}, new int[1], rope, x))
          .hasMessage("PackedDecoder: slots[0] is 1, allowed are 0 to 0");
      assertThatThrownBy(() -> d.forward(new int[1], new int[] {4}, rope, x))
          .hasMessage("PackedDecoder: positions[0] is 4, allowed are 0 to 3");
      assertThatThrownBy(() -> d.forward(new int[3], new int[3], new float[24], new float[48]))
          .hasMessage("PackedDecoder: there are 3 rows, allowed are 1 to 2");
      assertThatThrownBy(() -> d.logits(new float[17])).hasMessageContaining("exactly 16");
      for (int at : new int[] {-1, 2, Integer.MAX_VALUE}) {
        assertThatThrownBy(() -> d.logits(x, new float[10], at))
            .hasMessageContaining("allowed are at least 9");
      }
      float[] out = new float[10];
      d.logits(new float[16], out, 1);
      assertThat(out).isEqualTo(new float[10]);
      d.close();
      assertThatThrownBy(() -> d.logits(x)).hasMessage("the session is closed");
      assertThatThrownBy(d::bytes).isInstanceOf(IllegalStateException.class);
    }
    try (NativeKernels kernels = new NativeKernels(library, 0, 1, new ScalarProducts());
        PackedDecoder decoder = new PackedDecoder(kernels, w);
        PackedDecoder.Session d = decoder.open(new PackedDecoder.Limits(1, 4, 2, 8))) {
      float[] x = new float[16];
      x[3] = Float.POSITIVE_INFINITY;
      assertThatThrownBy(() -> d.logits(x)).hasMessageContaining("x[3] is Infinity");
    }
    assertThatThrownBy(
            () ->
                new DecoderWeights(shape, w.layers(), w.norm(), new Bf16Weight(1, 1, new short[1])))
        .hasMessage("DecoderWeights: head is 1 x 1, allowed is 9 x 16");
    assertThatThrownBy(() -> new DecoderShape(1, 16, 3, 2, 8, 16, 9, 1e-6f))
        .hasMessageContaining("kvHeads is 2");
    assertThatThrownBy(() -> new PackedDecoder.Limits(1, 1, 1, 4)).hasMessageContaining("8 and 16");
  }

  /** Weights given out one by one are those that the decoder was made of, to the bit. */
  @Test
  void weightsCanBeMultipliedByThemselves() {
    DecoderShape shape = new DecoderShape(2, 24, 3, 1, 8, 20, 9, 1e-6f);
    DecoderWeights w = weights(shape, 4, 8, true);
    NativeLibrary library = library();
    Random random = new Random(3);
    PackedMatrix left;
    try (NativeKernels kernels = new NativeKernels(library, 0, 2, new ScalarProducts());
        PackedDecoder decoder = new PackedDecoder(kernels, w)) {
      for (int i = 0; i < shape.layers(); i++) {
        DecoderWeights.Layer l = w.layers().get(i);
        same(random, kernels, decoder.matrix(i, PackedDecoder.Weight.QKV), l.qkv());
        same(random, kernels, decoder.matrix(i, PackedDecoder.Weight.OUT), l.out());
        same(random, kernels, decoder.matrix(i, PackedDecoder.Weight.GATE_UP), l.gateUp());
        same(random, kernels, decoder.matrix(i, PackedDecoder.Weight.DOWN), l.down());
      }
      same(random, kernels, decoder.head(), w.head());
      assertThatThrownBy(() -> decoder.matrix(2, PackedDecoder.Weight.OUT))
          .hasMessage("PackedDecoder: layer is 2, allowed are 0 to 1");
      assertThatThrownBy(() -> decoder.head().multiply(new float[23], 1, new float[9]))
          .isInstanceOf(IllegalArgumentException.class);
      left = decoder.head();
    }
    assertThatThrownBy(() -> left.multiply(new float[24], 1, new float[9]))
        .hasMessage("the decoder is closed");
  }

  private static void same(Random random, NativeKernels kernels, PackedMatrix own, Matrix of) {
    int m = 3;
    float[] x = QuantizerTest.random(random, m * of.cols());
    float[] y = new float[m * of.rows()];
    float[] expected = new float[y.length];
    own.multiply(x, m, y);
    own.close(); // Does nothing: the weight is the decoder's.
    own.multiply(x, m, y);
    kernels.products().matmul(x, m, (PackedWeight) of, expected);
    assertThat(y).containsExactly(expected);
  }

  /** One sequence in double precision; keys and values rounded as the caches do. */
  private record Oracle(DecoderWeights w, int kvBits) {
    double[] logits(float[] input) {
      DecoderShape s = w.shape();
      int n = input.length / s.width();
      double[] x = new double[input.length];
      Arrays.setAll(x, i -> input[i]);
      int dim = s.headDim();
      int all = s.heads() + 2 * s.kvHeads();
      int[] positions = new int[n];
      Arrays.setAll(positions, i -> i);
      float[] rope = rope(positions, dim);
      for (DecoderWeights.Layer l : w.layers()) {
        double[] qkv = times(normed(x, l.norm()), l.qkv());
        for (int i = 0; i < qkv.length; i++) {
          qkv[i] += l.bias() == null ? 0 : l.bias()[i % s.qkv()];
        }
        for (int row = 0; row < n; row++) {
          for (int head = 0; head < all; head++) {
            int at = (row * all + head) * dim;
            if (head < s.heads() + s.kvHeads()) {
              for (int k = 0; k < dim / 2; k++) {
                double cos = rope[row * dim + k];
                double sin = rope[row * dim + dim / 2 + k];
                double a = qkv[at + k];
                double b = qkv[at + dim / 2 + k];
                qkv[at + k] = a * cos - b * sin;
                qkv[at + dim / 2 + k] = b * cos + a * sin;
              }
            }
            if (head >= s.heads()) {
              cache(qkv, at, dim);
            }
          }
        }
        double[] mixed = new double[n * s.heads() * dim];
        for (int row = 0; row < n; row++) {
          for (int head = 0; head < s.heads(); head++) {
            attend(qkv, row, head, mixed);
          }
        }
        add(x, times(mixed, l.out()));
        double[] gateUp = times(normed(x, l.mlpNorm()), l.gateUp());
        double[] gated = new double[n * s.mlp()];
        for (int i = 0; i < gated.length; i++) {
          double g = gateUp[i / s.mlp() * 2 * s.mlp() + i % s.mlp()];
          gated[i] =
              g / (1 + Math.exp(-g)) * gateUp[i / s.mlp() * 2 * s.mlp() + s.mlp() + i % s.mlp()];
        }
        add(x, times(gated, l.down()));
      }
      return times(normed(x, w.norm()), w.head());
    }

    private void cache(double[] v, int at, int dim) {
      double absmax = 0;
      for (int k = 0; k < dim; k++) {
        absmax = Math.max(absmax, Math.abs(v[at + k]));
      }
      for (int k = 0; k < dim; k++) {
        v[at + k] =
            kvBits == 16
                ? Bf16.toFloat(Bf16.fromFloat((float) v[at + k]))
                : Math.rint(v[at + k] * 127 / absmax) * absmax / 127;
      }
    }

    private void attend(double[] qkv, int row, int head, double[] mixed) {
      DecoderShape s = w.shape();
      int dim = s.headDim();
      int all = s.heads() + 2 * s.kvHeads();
      int kv = head / (s.heads() / s.kvHeads());
      double[] p = new double[row + 1];
      double total = 0;
      for (int t = 0; t <= row; t++) {
        double dot = 0;
        for (int k = 0; k < dim; k++) {
          dot += qkv[(row * all + head) * dim + k] * qkv[(t * all + s.heads() + kv) * dim + k];
        }
        p[t] = Math.exp(dot / Math.sqrt(dim));
        total += p[t];
      }
      for (int t = 0; t <= row; t++) {
        for (int k = 0; k < dim; k++) {
          mixed[(row * s.heads() + head) * dim + k] +=
              p[t] / total * qkv[(t * all + s.heads() + s.kvHeads() + kv) * dim + k];
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
          out[i + k] = x[i + k] / Math.sqrt(squares / width + w.shape().eps()) * weight[k];
        }
      }
      return out;
    }

    private static double[] times(double[] x, Matrix m) {
      float[] v = values(m);
      double[] out = new double[x.length / m.cols() * m.rows()];
      for (int i = 0; i < out.length; i++) {
        for (int c = 0; c < m.cols(); c++) {
          out[i] += x[i / m.rows() * m.cols() + c] * v[i % m.rows() * m.cols() + c];
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
}
