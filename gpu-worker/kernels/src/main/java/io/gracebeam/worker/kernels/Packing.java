package io.gracebeam.worker.kernels;

/**
 * Dense bit packing of codes as in the compressed-tensors "pack-quantized" format: code +
 * 2^(bits-1) as an unsigned number, element i of a row in bits [i * bits, (i + 1) * bits) of the
 * row's little-endian 32-bit words, lowest bit first.
 */
public final class Packing {
  private Packing() {}

  /** Words of one row, ceil(cols * bits / 32). */
  public static int wordsPerRow(int cols, int bits) {
    checkBits("Packing.wordsPerRow", bits);
    Checks.positive("Packing.wordsPerRow", "cols", cols);
    return (int) (((long) cols * bits + 31) / 32);
  }

  /**
   * Packs codes {@code [rows, cols]}, each within [-2^(bits-1), 2^(bits-1)).
   *
   * @return words [rows, wordsPerRow]; unused high bits of a row's last word are zero
   */
  public static int[] pack(byte[] codes, int rows, int cols, int bits) {
    String where = "Packing.pack";
    int perRow = wordsPerRow(cols, bits);
    Checks.positive(where, "rows", rows);
    Checks.length(where, "codes", codes.length, Checks.product(where, rows, cols));
    checkCodes(where, "codes", codes, bits);
    int offset = 1 << (bits - 1);
    int[] words = new int[Checks.product(where, rows, perRow)];
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < cols; c++) {
        int u = codes[r * cols + c] + offset;
        int bit = c * bits;
        int at = r * perRow + (bit >>> 5);
        int shift = bit & 31;
        words[at] |= u << shift;
        if (shift + bits > 32) {
          words[at + 1] |= u >>> (32 - shift);
        }
      }
    }
    return words;
  }

  /** Inverse of {@link #pack}: codes {@code [rows, cols]}. */
  public static byte[] unpack(int[] words, int rows, int cols, int bits) {
    String where = "Packing.unpack";
    int perRow = wordsPerRow(cols, bits);
    Checks.positive(where, "rows", rows);
    Checks.length(where, "words", words.length, Checks.product(where, rows, perRow));
    byte[] codes = new byte[Checks.product(where, rows, cols)];
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < cols; c++) {
        codes[r * cols + c] = (byte) code(words, r * perRow, c, bits);
      }
    }
    return codes;
  }

  /**
   * Packs codes {@code [rows, cols]} down the rows, as compressed-tensors packs zero points: a
   * column is packed as {@link #pack} packs a row.
   *
   * @return words [wordsPerRow(rows), cols]
   */
  public static int[] packDown(byte[] codes, int rows, int cols, int bits) {
    Checks.length("Packing.packDown", "codes", codes.length, rows * cols);
    byte[] turned = new byte[codes.length];
    for (int i = 0; i < codes.length; i++) {
      turned[i % cols * rows + i / cols] = codes[i];
    }
    int perColumn = wordsPerRow(rows, bits);
    int[] words = pack(turned, cols, rows, bits);
    int[] out = new int[words.length];
    for (int i = 0; i < words.length; i++) {
      out[i % perColumn * cols + i / perColumn] = words[i];
    }
    return out;
  }

  /** Inverse of {@link #packDown}: codes {@code [rows, cols]}. */
  public static byte[] unpackDown(int[] words, int rows, int cols, int bits) {
    int perColumn = wordsPerRow(rows, bits);
    String where = "Packing.unpackDown";
    Checks.length(where, "words", words.length, Checks.product(where, perColumn, cols));
    int[] turned = new int[words.length];
    for (int i = 0; i < words.length; i++) {
      turned[i % cols * perColumn + i / cols] = words[i];
    }
    byte[] columns = unpack(turned, cols, rows, bits);
    byte[] out = new byte[columns.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = columns[i % cols * rows + i / cols];
    }
    return out;
  }

  /** Signed code of element {@code c} of the row whose words start at {@code base}. */
  static int code(int[] words, int base, int c, int bits) {
    int bit = c * bits;
    int at = base + (bit >>> 5);
    int shift = bit & 31;
    int u = words[at] >>> shift;
    if (shift + bits > 32) {
      u |= words[at + 1] << (32 - shift);
    }
    return (u & ((1 << bits) - 1)) - (1 << (bits - 1));
  }

  /** Refuses numbers that are no codes of that width. */
  static void checkCodes(String where, String what, byte[] codes, int bits) {
    int offset = 1 << (bits - 1);
    for (int i = 0; i < codes.length; i++) {
      if (codes[i] < -offset || codes[i] >= offset) {
        throw Checks.error(
            where, "%s[%d] is %d, allowed are %d to %d", what, i, codes[i], -offset, offset - 1);
      }
    }
  }

  static void checkBits(String where, int bits) {
    if (bits < 2 || bits > 8) {
      throw Checks.error(where, "bits is %d, allowed are 2 to 8", bits);
    }
  }
}
