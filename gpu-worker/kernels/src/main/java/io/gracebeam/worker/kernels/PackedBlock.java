package io.gracebeam.worker.kernels;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * Sixteen rows of a packed weight, one a lane. Codes less their zero points (at most 255) and the
 * inputs' halves (at most 128) are so small that float32 sums of their products over a run are
 * exact.
 */
final class PackedBlock {
  /** Rows of a block. */
  static final int ROWS = 16;

  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final int LANES = F.length();
  private static final VectorSpecies<Integer> I8 = IntVector.SPECIES_256;
  private static final VectorSpecies<Float> F8 = FloatVector.SPECIES_256;
  private static final VectorSpecies<Integer> I4 = IntVector.SPECIES_128;
  private static final VectorSpecies<Float> F4 = FloatVector.SPECIES_128;

  private final PackedWeight w;
  private final int first;
  private final int rows;
  private final int run;
  private final int runs;
  private final float[] codes; // less their zero points [cols, ROWS]
  private final float[] scales; // [runs, ROWS]

  PackedBlock(PackedWeight w, int first) {
    this.w = w;
    this.first = first;
    this.rows = Math.min(ROWS, w.rows() - first);
    this.run = w.run();
    this.runs = w.cols() / run;
    this.codes = new float[w.cols() * ROWS];
    this.scales = new float[runs * ROWS];
    float[] row = new float[w.cols()];
    for (int r = 0; r < rows; r++) {
      unpackRow(w, first + r, false, row, 0);
      for (int c = 0; c < row.length; c++) {
        codes[c * ROWS + r] = row[c];
      }
      for (int k = 0; k < runs; k++) {
        scales[k * ROWS + r] = w.scales()[((first + r) * w.cols() + k * run) / w.groupSize()];
      }
    }
  }

  void multiply(RoundedInputs inputs, float[] high, float[] low, int m, float[] y) {
    float[] out = new float[ROWS];
    for (int i = 0; i < m; i += 2) {
      // With an odd number of inputs the last is computed twice.
      int second = Math.min(i + 1, m - 1);
      for (int lane = 0; lane < rows; lane += LANES) {
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        for (int k = 0; k < runs; k++) {
          FloatVector ah = FloatVector.zero(F);
          FloatVector al = ah;
          FloatVector bh = ah;
          FloatVector bl = ah;
          int x0 = i * w.cols() + k * run;
          int x1 = second * w.cols() + k * run;
          int at = k * run * ROWS + lane;
          for (int c = 0; c < run; c++, at += ROWS) {
            FloatVector v = FloatVector.fromArray(F, codes, at);
            ah = v.fma(FloatVector.broadcast(F, high[x0 + c]), ah);
            al = v.fma(FloatVector.broadcast(F, low[x0 + c]), al);
            bh = v.fma(FloatVector.broadcast(F, high[x1 + c]), bh);
            bl = v.fma(FloatVector.broadcast(F, low[x1 + c]), bl);
          }
          FloatVector scale = FloatVector.fromArray(F, scales, k * ROWS + lane);
          a = whole(ah, al).fma(scale.mul(inputs.scales()[i * runs + k]), a);
          b = whole(bh, bl).fma(scale.mul(inputs.scales()[second * runs + k]), b);
        }
        int n = Math.min(LANES, rows - lane);
        a.intoArray(out, 0);
        System.arraycopy(out, 0, y, i * w.rows() + first + lane, n);
        b.intoArray(out, 0);
        System.arraycopy(out, 0, y, second * w.rows() + first + lane, n);
      }
    }
  }

  /** 256 high + low as one integer, rounded to a float once. */
  private static FloatVector whole(FloatVector high, FloatVector low) {
    IntVector h = (IntVector) high.convert(VectorOperators.F2I, 0);
    IntVector l = (IntVector) low.convert(VectorOperators.F2I, 0);
    return (FloatVector) h.mul(256).add(l).convert(VectorOperators.I2F, 0);
  }

  /** Codes of a row less their zero points as floats, times their scales if asked. */
  static void unpackRow(PackedWeight w, int row, boolean scaled, float[] out, int at) {
    int cols = w.cols();
    int bits = w.bits();
    int g = w.groupSize();
    int[] words = w.words();
    float[] scales = w.scales();
    int base = row * Packing.wordsPerRow(cols, bits);
    int scale = row * (cols / g);
    // The codes of one step fit into 32 bits: broadcast that window and shift each lane by its own
    // amount.
    int step = bits <= 4 ? 8 : 4;
    int fast = g % step == 0 ? cols : 0;
    int mask = (1 << bits) - 1;
    int offset = 1 << (bits - 1);
    if (step == 8) {
      IntVector shifts = IntVector.zero(I8).addIndex(bits);
      for (int c = 0; c < fast; c += 8) {
        IntVector u = IntVector.broadcast(I8, window(words, base, c * bits, 8 * bits));
        int zero = offset + w.zero(scale + c / g);
        IntVector codes = u.lanewise(VectorOperators.LSHR, shifts).and(mask).sub(zero);
        FloatVector f = (FloatVector) codes.convertShape(VectorOperators.I2F, F8, 0);
        f.mul(scaled ? scales[scale + c / g] : 1f).intoArray(out, at + c);
      }
    } else {
      IntVector shifts = IntVector.zero(I4).addIndex(bits);
      for (int c = 0; c < fast; c += 4) {
        IntVector u = IntVector.broadcast(I4, window(words, base, c * bits, 4 * bits));
        int zero = offset + w.zero(scale + c / g);
        IntVector codes = u.lanewise(VectorOperators.LSHR, shifts).and(mask).sub(zero);
        FloatVector f = (FloatVector) codes.convertShape(VectorOperators.I2F, F4, 0);
        f.mul(scaled ? scales[scale + c / g] : 1f).intoArray(out, at + c);
      }
    }
    for (int c = fast; c < cols; c++) {
      int code = Packing.code(words, base, c, bits) - w.zero(scale + c / g);
      out[at + c] = code * (scaled ? scales[scale + c / g] : 1f);
    }
  }

  /**
   * The {@code need} (at most 32) bits from bit {@code bit} of a row, and whatever follows them.
   */
  private static int window(int[] words, int base, int bit, int need) {
    int at = base + (bit >>> 5);
    int shift = bit & 31;
    int u = words[at] >>> shift;
    return shift + need > 32 ? u | (words[at + 1] << (32 - shift)) : u;
  }
}
