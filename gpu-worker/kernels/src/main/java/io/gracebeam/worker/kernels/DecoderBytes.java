package io.gracebeam.worker.kernels;

/**
 * Memory of packed weights and decoders before they are made, as {@code gk_weight.c} and {@code
 * gk_decoder.c} lay it out: scales, padded rows, runs and heads included. A machine without native
 * kernels gets the same figures.
 */
public final class DecoderBytes {
  private static final String WHERE = "DecoderBytes";
  private static final long ALIGN = 64;
  private static final int TILE_ROWS = 16;
  private static final int TILE_COLS = 8;
  private static final int LANES = 16;
  private static final int MAX_RUN = 128;

  private DecoderBytes() {}

  /**
   * How a weight's numbers are stored.
   *
   * @param bits 2 to 8 for codes; 16 for bfloat16 and 32 for float32 numbers
   * @param group elements per scale along the input; -1 for one scale per row
   * @param wideScales whether scales are float32 numbers, not bfloat16
   * @param zeros whether groups have zero points
   */
  public record Form(int bits, int group, boolean wideScales, boolean zeros) {
    /** Validates the bits. */
    public Form {
      if (bits != 16 && bits != 32) {
        Packing.checkBits(WHERE, bits);
      }
      if (group < 1 && group != -1) {
        throw Checks.error(WHERE, "group is %d, allowed are 1 and more, or -1", group);
      }
    }

    boolean dense() {
      return bits >= 16;
    }

    /** Inputs that share a scale of their own. */
    int run(int cols) {
      int size = group == -1 ? cols : group;
      if (cols % size != 0) {
        throw Checks.error(WHERE, "group is %d, allowed are divisors of cols = %d", size, cols);
      }
      int run = Math.min(size, MAX_RUN);
      while (size % run != 0) {
        run--;
      }
      return run;
    }
  }

  /** Bytes of a packed weight [rows, cols]: {@code gk_weight_bytes}. */
  public static long weight(int rows, int cols, Form form) {
    Checks.positive(WHERE, "rows", rows);
    Checks.positive(WHERE, "cols", cols);
    long blocks = (rows + TILE_ROWS - 1L) / TILE_ROWS;
    if (form.dense()) {
      return ALIGN + blocks * ((cols + 3L) / 4) * TILE_ROWS * 4 * form.bits() / 8;
    }
    long run = form.run(cols);
    long runs = cols / run;
    long steps = (run + TILE_COLS - 1) / TILE_COLS;
    long scales = up(runs * TILE_ROWS * (form.wideScales() ? 4 : 2));
    long zeros = form.zeros() ? up(runs * TILE_ROWS) : 0;
    long tile = form.bits() <= 4 ? 64 : 128;
    return ALIGN + blocks * (scales + zeros + runs * steps * tile);
  }

  /** Bytes of a decoder's weights: {@link PackedDecoder#weightBytes}, without biases. */
  public static long weights(DecoderShape s, Form layers, Form head) {
    long norms = 2L * s.width() * Float.BYTES;
    long layer =
        norms
            + weight(s.qkv(), s.width(), layers)
            + weight(s.width(), s.heads() * s.headDim(), layers)
            + weight(2 * s.mlp(), s.width(), layers)
            + weight(s.width(), s.mlp(), layers);
    return s.layers() * layer + (long) s.width() * Float.BYTES + weight(s.vocab(), s.width(), head);
  }

  /** Bytes of a session's keys and values with their scales. */
  public static long cache(DecoderShape s, PackedDecoder.Limits limits) {
    long heads = (long) s.layers() * limits.slots() * s.kvHeads() * limits.positions();
    long numbers = up(heads * lanes(s.headDim()) * limits.kvBits() / 8);
    long scales = limits.kvBits() == 8 ? up(heads * Float.BYTES) : 0;
    return 2 * (numbers + scales);
  }

  /**
   * Bytes of a session beside its cache; with {@link #cache} those of {@link
   * PackedDecoder.Session#bytes}.
   *
   * @param threads of the kernels
   */
  public static long scratch(
      DecoderShape s, PackedDecoder.Limits limits, Form layers, Form head, int threads) {
    long rows = limits.rows();
    int mixed = s.heads() * s.headDim();
    long product =
        Math.max(
            Math.max(inputs(rows, s.width(), layers), inputs(rows, s.width(), head)),
            Math.max(inputs(rows, mixed, layers), inputs(rows, s.mlp(), layers)));
    return 2 * floats(rows * s.width())
        + floats(rows * s.qkv())
        + floats(rows * s.heads() * lanes(s.headDim()))
        + floats(rows * mixed)
        + floats(rows * 2 * s.mlp())
        + floats(rows * s.mlp())
        + floats(threads * lanes(limits.positions()))
        + up(product)
        + PackedDecoder.bufferBytes(s, limits);
  }

  /** Rounded inputs of a product: {@code gk_matmul_scratch}. */
  private static long inputs(long rows, int cols, Form form) {
    if (form.dense()) {
      return floats(rows * ((cols + 3L) / 4 * 4));
    }
    long run = form.run(cols);
    long runs = cols / run;
    long steps = (run + TILE_COLS - 1) / TILE_COLS;
    return up(rows * runs * steps * 2 * TILE_COLS) + 2 * floats(rows * runs);
  }

  private static long lanes(long n) {
    return (n + LANES - 1) / LANES * LANES;
  }

  private static long floats(long count) {
    return up(count * Float.BYTES);
  }

  private static long up(long bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
  }
}
