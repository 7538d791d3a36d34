package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.gracebeam.worker.kernels.Bf16;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.PackedWeight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/** A decoder's steps and the whole of it against loops in double precision. */
final class DecoderChecks {
  /** Relative error of a number rounded to bfloat16 whose float32 value is off by some ulps. */
  private static final double BF16 = 0x1p-8 + 0x1p-18; // 8 significant bits

  private final CudaLibrary library;
  private final Device device;

  DecoderChecks(CudaLibrary library, Device device) {
    this.library = library;
    this.device = device;
  }

  static float[] random(Random random, int n) {
    float[] out = new float[n];
    for (int i = 0; i < n; i++) {
      out[i] = (float) random.nextGaussian();
    }
    return out;
  }

  /** A sum of squares of positive terms loses at most width * 2^-24 of itself, half of it here. */
  void norm(int rows, int width, long seed) {
    Random random = new Random(seed);
    float[] x = random(random, rows * width);
    float[] weight = random(random, width);
    float eps = 1e-5f;
    try (GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment out = memory.output(2L * x.length);
      library.checked(
          "gkc_rms_norm", memory.floats(x), memory.floats(weight), rows, width, eps, out, STREAM);
      float[] found = Bf16.toFloats(memory.readShorts(out, x.length));
      for (int i = 0; i < x.length; i++) {
        double squares = 0;
        for (int k = i / width * width; k < (i / width + 1) * width; k++) {
          squares += (double) x[k] * x[k];
        }
        double expected = x[i] / Math.sqrt(squares / width + eps) * weight[i % width];
        double bound = (BF16 + width * Close.ROUNDING) * Math.abs(expected);
        Close.check("norm", i, found[i], expected, bound + 1e-38);
      }
    }
  }

  void gate(int rows, int mlp, long seed) {
    Random random = new Random(seed);
    float[] gateUp = random(random, rows * 2 * mlp);
    try (GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment out = memory.output(2L * rows * mlp);
      library.checked("gkc_swiglu", memory.floats(gateUp), rows, mlp, out, STREAM);
      float[] found = Bf16.toFloats(memory.readShorts(out, rows * mlp));
      for (int i = 0; i < found.length; i++) {
        double gate = gateUp[i / mlp * 2 * mlp + i % mlp];
        double up = gateUp[i / mlp * 2 * mlp + mlp + i % mlp];
        double expected = gate / (1 + Math.exp(-gate)) * up;
        Close.check("gated", i, found[i], expected, BF16 * Math.abs(expected) + 1e-38);
      }
    }
  }

  /** Sizes of an attention check. */
  record Heads(int heads, int kvHeads, int dim, int slots, int positions, int kvBits) {
    int all() {
      return heads + 2 * kvHeads;
    }

    int cached() {
      return slots * kvHeads * positions;
    }
  }

  /** gkc_cache on the device; values that nobody wrote are NaN. */
  private static MemorySegment cache(Arena arena, GuardedMemory memory, Heads h) {
    MemorySegment c = arena.allocate(56, 8);
    int[] sizes = {h.heads, h.kvHeads, h.dim, h.slots, h.positions, h.kvBits};
    MemorySegment.copy(sizes, 0, c, JAVA_INT, 0, sizes.length);
    long bytes = (long) h.cached() * h.dim * h.kvBits / 8;
    c.set(ADDRESS, 24, memory.output(bytes));
    c.set(ADDRESS, 32, memory.output(bytes));
    c.set(ADDRESS, 40, h.kvBits == 8 ? memory.output(4L * h.cached()) : MemorySegment.NULL);
    c.set(ADDRESS, 48, h.kvBits == 8 ? memory.output(4L * h.cached()) : MemorySegment.NULL);
    return c;
  }

  /** Writes a sequence position by position, then lets its last rows and a wrong one attend. */
  void attention(Heads h, int length, boolean bias, long seed) {
    Random random = new Random(seed);
    int slot = random.nextInt(h.slots);
    int[] positions = new int[length];
    Arrays.setAll(positions, i -> i);
    float[] qkv = random(random, length * h.all() * h.dim);
    float[] b = bias ? random(random, h.all() * h.dim) : null;
    float[] rope = DecoderOracle.rope(positions, h.dim);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      MemorySegment cache = cache(arena, memory, h);
      int[] slots = new int[length];
      Arrays.fill(slots, slot);
      MemorySegment dSlots = memory.ints(slots);
      MemorySegment dPositions = memory.ints(positions);
      MemorySegment queries = memory.output(4L * length * h.heads * h.dim);
      library.checked(
          "gkc_rotate",
          cache,
          memory.floats(qkv),
          b == null ? MemorySegment.NULL : memory.floats(b),
          dSlots,
          dPositions,
          memory.floats(rope),
          length,
          queries,
          STREAM);
      double[] rotated = rotated(h, qkv, b, rope, length);
      float[] q = memory.readFloats(queries, length * h.heads * h.dim);
      double[] keys = new double[length * h.kvHeads * h.dim];
      double[] values = new double[keys.length];
      written(memory, cache, h, slot, length, rotated, keys, values);
      for (int row = 0; row < length; row++) {
        for (int k = 0; k < h.heads * h.dim; k++) {
          double expected = rotated[row * h.all() * h.dim + k] / Math.sqrt(h.dim);
          int at = row * h.heads * h.dim + k;
          Close.check(
              "queries", at, q[at], expected, 16 * Close.ROUNDING * (2 + Math.abs(expected)));
        }
      }
      MemorySegment out = memory.output(2L * length * h.heads * h.dim);
      long bytes = library.callLong("gkc_attention_bytes", cache, length);
      library.checked(
          "gkc_attention",
          cache,
          queries,
          dSlots,
          dPositions,
          length,
          out,
          memory.output(bytes),
          bytes,
          STREAM);
      float[] found = Bf16.toFloats(memory.readShorts(out, length * h.heads * h.dim));
      attended(h, q, keys, values, length, found);
    }
  }

  private static double[] rotated(Heads h, float[] qkv, float[] bias, float[] rope, int length) {
    double[] out = new double[qkv.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = qkv[i] + (bias == null ? 0.0 : bias[i % (h.all() * h.dim)]);
    }
    for (int row = 0; row < length; row++) {
      for (int head = 0; head < h.heads + h.kvHeads; head++) {
        int at = (row * h.all() + head) * h.dim;
        for (int k = 0; k < h.dim / 2; k++) {
          double cos = rope[row * h.dim + k];
          double sin = rope[row * h.dim + h.dim / 2 + k];
          double a = out[at + k];
          double b = out[at + h.dim / 2 + k];
          out[at + k] = a * cos - b * sin;
          out[at + h.dim / 2 + k] = b * cos + a * sin;
        }
      }
    }
    return out;
  }

  /** Reads keys and values back, compares them with what was to be written, and keeps them. */
  private static void written(
      GuardedMemory memory,
      MemorySegment cache,
      Heads h,
      int slot,
      int length,
      double[] rotated,
      double[] keys,
      double[] values) {
    double[][] found = {contents(memory, cache, h, 0), contents(memory, cache, h, 1)};
    for (int t = 0; t < length; t++) {
      for (int kv = 0; kv < h.kvHeads; kv++) {
        for (int which = 0; which < 2; which++) {
          int from = (t * h.all() + h.heads + which * h.kvHeads + kv) * h.dim;
          int at = ((slot * h.kvHeads + kv) * h.positions + t) * h.dim;
          double absmax = 0;
          for (int k = 0; k < h.dim; k++) {
            absmax = Math.max(absmax, Math.abs(rotated[from + k]));
          }
          for (int k = 0; k < h.dim; k++) {
            double expected = rotated[from + k];
            // Half a step of the cache, and what float32 loses before.
            double step = h.kvBits == 16 ? BF16 * Math.abs(expected) : 0.5001 * absmax / 127;
            Close.check(
                which == 0 ? "key" : "value",
                at + k,
                found[which][at + k],
                expected,
                step + 8 * Close.ROUNDING * (absmax + 4));
            (which == 0 ? keys : values)[(t * h.kvHeads + kv) * h.dim + k] = found[which][at + k];
          }
        }
      }
    }
    for (int which = 0; which < 2; which++) {
      for (int i = 0; i < found[which].length; i++) {
        int position = i / h.dim % h.positions;
        boolean own = i / h.dim / h.positions / h.kvHeads == slot && position < length;
        Close.that(own == !Double.isNaN(found[which][i]), "a position of nobody was written");
      }
    }
  }

  /** All of a cache as numbers; NaN where nobody wrote. */
  private static double[] contents(GuardedMemory memory, MemorySegment cache, Heads h, int which) {
    int n = h.cached() * h.dim;
    MemorySegment numbers =
        cache.get(ADDRESS, 24 + 8L * which).reinterpret((long) n * h.kvBits / 8);
    double[] out = new double[n];
    if (h.kvBits == 16) {
      float[] f = Bf16.toFloats(memory.readShorts(numbers, n));
      Arrays.setAll(out, i -> f[i]);
    } else {
      byte[] codes = memory.readBytes(numbers, n);
      MemorySegment at = cache.get(ADDRESS, 40 + 8L * which).reinterpret(4L * h.cached());
      float[] scales = memory.readFloats(at, h.cached());
      Arrays.setAll(out, i -> (double) codes[i] * scales[i / h.dim]);
    }
    return out;
  }

  /**
   * Scores are float32 sums of dim terms, off by at most dim 2^-24 of their magnitudes; their
   * exponentials by that and two ulps, twice (the sum's); values' sums by as many roundings as
   * positions. The result is rounded to bfloat16.
   */
  private static void attended(
      Heads h, float[] q, double[] keys, double[] values, int length, float[] found) {
    for (int row = 0; row < length; row++) {
      for (int head = 0; head < h.heads; head++) {
        int kv = head / (h.heads / h.kvHeads);
        double[] p = new double[row + 1];
        double most = Double.NEGATIVE_INFINITY;
        double magnitude = 0;
        for (int t = 0; t <= row; t++) {
          double own = 0;
          for (int k = 0; k < h.dim; k++) {
            double term =
                q[(row * h.heads + head) * h.dim + k] * keys[(t * h.kvHeads + kv) * h.dim + k];
            p[t] += term;
            own += Math.abs(term);
          }
          magnitude = Math.max(magnitude, own);
          most = Math.max(most, p[t]);
        }
        double total = 0;
        for (int t = 0; t <= row; t++) {
          p[t] = Math.exp(p[t] - most);
          total += p[t];
        }
        double error = 2 * ((h.dim + 4) * magnitude * Close.ROUNDING + 0x1p-22);
        for (int k = 0; k < h.dim; k++) {
          double sum = 0;
          double size = 0;
          for (int t = 0; t <= row; t++) {
            double term = p[t] / total * values[(t * h.kvHeads + kv) * h.dim + k];
            sum += term;
            size += Math.abs(term);
          }
          int at = (row * h.heads + head) * h.dim + k;
          double bound = BF16 * Math.abs(sum) + size * (error + (row + 4) * Close.ROUNDING);
          Close.check("attention", at, found[at], sum, bound + 1e-30);
        }
      }
    }
  }

  /** Sizes and layout of a decoder check. */
  record Model(DecoderShape shape, int bits, int headBits, int kvBits, boolean bias) {}

  /** Everything that a decoder is made of, on the device and for the oracle. */
  static final class Parts {
    final List<MemorySegment> weights = new ArrayList<>();
    final List<MemorySegment> vectors = new ArrayList<>();
    final List<DecoderOracle.Layer> layers = new ArrayList<>();
    float[] norm;
    float[] head;
  }

  private float[] weight(
      Parts parts, Random random, int bits, int rows, int cols, Arena arena, GuardedMemory memory) {
    if (bits == 16) {
      float[] w = random(random, rows * cols);
      for (int i = 0; i < w.length; i++) {
        w[i] = Bf16.round((float) (w[i] / Math.sqrt(cols)));
      }
      short[] values = Bf16.fromFloats(w);
      parts.weights.add(ProductChecks.packBf16(library, arena, memory, values, rows, cols));
      return w;
    }
    PackedWeight symmetric = ProductChecks.quantized(random, bits, rows, cols, 32);
    boolean zeros = random.nextBoolean();
    PackedWeight packed = zeros ? ProductChecks.shifted(random, symmetric) : symmetric;
    parts.weights.add(ProductChecks.pack(library, arena, memory, packed, false));
    return ProductChecks.dequantized(packed, false);
  }

  private static float[] norm(Random random, int n) {
    float[] out = new float[n];
    for (int i = 0; i < n; i++) {
      out[i] = 0.5f + random.nextFloat();
    }
    return out;
  }

  Parts parts(Model m, Random random, Arena arena, GuardedMemory memory) {
    Parts parts = new Parts();
    DecoderShape s = m.shape();
    for (int i = 0; i < s.layers(); i++) {
      float[] first = norm(random, s.width());
      float[] bias = m.bias() ? random(random, s.qkv()) : null;
      float[] second = norm(random, s.width());
      int all = s.heads() * s.headDim();
      parts.layers.add(
          new DecoderOracle.Layer(
              first,
              weight(parts, random, m.bits(), s.qkv(), s.width(), arena, memory),
              bias,
              weight(parts, random, m.bits(), s.width(), all, arena, memory),
              second,
              weight(parts, random, m.bits(), 2 * s.mlp(), s.width(), arena, memory),
              weight(parts, random, m.bits(), s.width(), s.mlp(), arena, memory)));
      parts.vectors.add(memory.floats(first));
      parts.vectors.add(bias == null ? MemorySegment.NULL : memory.floats(bias));
      parts.vectors.add(memory.floats(second));
    }
    parts.norm = norm(random, s.width());
    parts.vectors.add(memory.floats(parts.norm));
    parts.head = weight(parts, random, m.headBits(), s.vocab(), s.width(), arena, memory);
    return parts;
  }

  /** gkc_config. */
  static MemorySegment config(
      Arena arena, DecoderShape s, int slots, int positions, int rows, int kvBits) {
    MemorySegment c =
        arena.allocateFrom(
            JAVA_INT,
            s.layers(),
            s.width(),
            s.heads(),
            s.kvHeads(),
            s.headDim(),
            s.mlp(),
            s.vocab(),
            slots,
            positions,
            rows,
            kvBits,
            0);
    c.setAtIndex(JAVA_FLOAT, 11, s.eps());
    return c;
  }

  /** Structs and pointers one behind the other. */
  static MemorySegment[] tables(Arena arena, Parts parts) {
    MemorySegment weights = arena.allocate(56L * parts.weights.size(), 8);
    for (int i = 0; i < parts.weights.size(); i++) {
      weights.asSlice(56L * i, 56).copyFrom(parts.weights.get(i));
    }
    MemorySegment vectors = arena.allocate(ADDRESS, parts.vectors.size());
    for (int i = 0; i < parts.vectors.size(); i++) {
      vectors.setAtIndex(ADDRESS, i, parts.vectors.get(i));
    }
    return new MemorySegment[] {weights, vectors};
  }

  /**
   * A sequence in one call and again position by position, each against the oracle that rounds
   * where the kernels do. Float32 sums tip some roundings over, and what follows one in its row is
   * rounded anew. So kernels and oracle are two roundings of the same exact numbers: each is off by
   * about what the rounding oracle is from the exact one, and the two from each other by at most
   * twice that, at worst and on average.
   */
  void decoder(Model m, int length, long seed) {
    Random random = new Random(seed);
    DecoderShape s = m.shape();
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(device)) {
      Parts parts = parts(m, random, arena, memory);
      MemorySegment[] tables = tables(arena, parts);
      MemorySegment out = arena.allocate(ADDRESS);
      library.checked(
          "gkc_decoder_new",
          config(arena, s, 2, length + 3, length, m.kvBits()),
          tables[0],
          parts.weights.size(),
          tables[1],
          parts.vectors.size(),
          out);
      MemorySegment decoder = out.get(ADDRESS, 0);
      try {
        float[] x = random(random, length * s.width());
        double[] exact = oracle(m, parts, false).logits(x);
        double[] rounded = oracle(m, parts, true).logits(x);
        agree("prefill", exact, rounded, prefill(memory, decoder, s, x, 1));
        agree("tokens", exact, rounded, steps(memory, decoder, s, x));
        Close.that(library.callLong("gkc_decoder_bytes", decoder) > 0, "no bytes");
      } finally {
        library.run("gkc_decoder_free", decoder);
      }
    }
  }

  private static DecoderOracle oracle(Model m, Parts p, boolean rounded) {
    return new DecoderOracle(m.shape(), p.layers, p.norm, p.head, m.kvBits(), rounded);
  }

  private static void agree(String what, double[] exact, double[] rounded, float[] found) {
    double most = 0;
    double squares = 0;
    double off = 0;
    for (int i = 0; i < exact.length; i++) {
      most = Math.max(most, Math.abs(exact[i] - rounded[i]));
      squares += Math.pow(exact[i] - rounded[i], 2);
      off += Math.pow(found[i] - rounded[i], 2);
    }
    for (int i = 0; i < exact.length; i++) {
      Close.check(what, i, found[i], rounded[i], 2 * most);
    }
    Close.check(what + ", mean square", 0, off, 0, 4 * squares);
  }

  private float[] prefill(
      GuardedMemory memory, MemorySegment decoder, DecoderShape s, float[] input, int slot) {
    int n = input.length / s.width();
    int[] slots = new int[n];
    Arrays.fill(slots, slot);
    int[] positions = new int[n];
    Arrays.setAll(positions, i -> i);
    MemorySegment x = memory.floats(input);
    library.checked(
        "gkc_forward",
        decoder,
        n,
        memory.ints(slots),
        memory.ints(positions),
        memory.floats(DecoderOracle.rope(positions, s.headDim())),
        x,
        STREAM);
    MemorySegment logits = memory.output(4L * n * s.vocab());
    library.checked("gkc_logits", decoder, n, x, logits, STREAM);
    return memory.readFloats(logits, n * s.vocab());
  }

  /** One position at a time, in the same arrays as a graph wants it; a second row has no slot. */
  private float[] steps(
      GuardedMemory memory, MemorySegment decoder, DecoderShape s, float[] input) {
    int n = input.length / s.width();
    MemorySegment slots = memory.ints(0, 9);
    MemorySegment position = memory.ints(0, 0);
    MemorySegment rope = memory.zeros(8L * s.headDim());
    MemorySegment x = memory.zeros(8L * s.width());
    MemorySegment logits = memory.output(8L * s.vocab());
    float[] out = new float[n * s.vocab()];
    for (int i = 0; i < n; i++) {
      float[] both =
          Arrays.copyOf(
              Arrays.copyOfRange(input, i * s.width(), (i + 1) * s.width()), 2 * s.width());
      int[] at = {i, 0};
      device.write(position, MemorySegment.ofArray(at));
      device.write(rope, MemorySegment.ofArray(DecoderOracle.rope(at, s.headDim())));
      device.write(x, MemorySegment.ofArray(both));
      library.checked(
          "gkc_token", decoder, Math.min(n, 2), slots, position, rope, x, logits, STREAM);
      float[] found = memory.readFloats(logits, 2 * s.vocab());
      System.arraycopy(found, 0, out, i * s.vocab(), s.vocab());
      Close.that(n == 1 || Float.isNaN(found[s.vocab()]), "a row without a slot has logits");
    }
    return out;
  }
}
