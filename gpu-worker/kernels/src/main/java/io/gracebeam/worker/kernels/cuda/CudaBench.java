package io.gracebeam.worker.kernels.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.gracebeam.worker.kernels.DecoderShape;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Times kernels with events: products against the speed of copies, decoders against 16 bit. */
final class CudaBench implements AutoCloseable {
  /** Weights that are read in turn take at least so much, so that no cache holds them. */
  private static final long BEYOND_CACHES = 256L << 20;

  private final CudaLibrary library;
  private final LibraryDevice device;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment clock;
  private final MemorySegment stream;
  private final MemorySegment elapsed = arena.allocate(JAVA_FLOAT);
  private final Report report;

  CudaBench(CudaLibrary library, LibraryDevice device, Report report) {
    this.library = library;
    this.device = device;
    this.report = report;
    MemorySegment out = arena.allocate(ADDRESS);
    library.checked("gkc_clock_new", out);
    this.clock = out.get(ADDRESS, 0);
    library.checked("gkc_stream_new", out);
    this.stream = out.get(ADDRESS, 0);
  }

  /** Seconds of one call, the median of five times {@code calls} calls; some run before. */
  private double seconds(int calls, Runnable call) {
    for (int i = 0; i < calls; i++) {
      call.run();
    }
    double[] times = new double[5];
    for (int i = 0; i < times.length; i++) {
      library.checked("gkc_clock_start", clock, stream);
      for (int k = 0; k < calls; k++) {
        call.run();
      }
      library.checked("gkc_clock_stop", clock, stream, elapsed);
      times[i] = elapsed.get(JAVA_FLOAT, 0) / 1e3 / calls;
    }
    Arrays.sort(times);
    return times[2];
  }

  /** Bytes read and written per second by copies of {@code bytes}. */
  double copies(long bytes) {
    MemorySegment from = device.allocate(bytes);
    MemorySegment to = device.allocate(bytes);
    double speed =
        2.0 * bytes / seconds(5, () -> library.checked("gkc_copy", to, from, bytes, stream));
    device.free(from);
    device.free(to);
    report.row("copy", speed, "B/s", null, null);
    return speed;
  }

  /** Weight bytes per second of products of one shape, for some numbers of inputs. */
  void products(
      String shape, int bits, int rows, int cols, int group, int[] inputs, double copySpeed) {
    List<MemorySegment> weights = new ArrayList<>();
    long each = 0;
    do {
      weights.add(weight(bits, rows, cols, bits == 16 ? cols : group, weights.size()));
      each = bytes(weights.get(0));
    } while (weights.size() * each < BEYOND_CACHES);
    for (int m : inputs) {
      MemorySegment x = device.allocate(2L * m * cols);
      device.write(x, arena.allocate(2L * m * cols));
      MemorySegment y = device.allocate(4L * m * rows);
      int[] turn = {0};
      double time =
          seconds(
              2 * weights.size(),
              () ->
                  library.checked(
                      "gkc_matmul", weights.get(turn[0]++ % weights.size()), x, m, y, 0, stream));
      String name = "product %s, %d bits, %d inputs".formatted(shape, bits, m);
      report.row(name, each / time, "B/s", "copy", each / time / copySpeed);
      report.row(name, 2.0 * m * rows * cols / time, "FLOP/s", null, null);
      device.free(x);
      device.free(y);
    }
    weights.forEach(this::free);
  }

  private MemorySegment weight(int bits, int rows, int cols, int group, int seed) {
    MemorySegment w = ProductChecks.describe(library, arena, bits, rows, cols, group, 0);
    MemorySegment scales =
        bits == 16 ? MemorySegment.NULL : device.allocate(ProductChecks.scaleBytes(w));
    ProductChecks.point(w, device.allocate(ProductChecks.codeBytes(w)), scales);
    library.checked("gkc_random_weight", w, (long) seed, stream);
    return w;
  }

  private static long bytes(MemorySegment weight) {
    return ProductChecks.codeBytes(weight) + ProductChecks.scaleBytes(weight);
  }

  private void free(MemorySegment weight) {
    device.free(weight.get(ADDRESS, 24));
    if (weight.get(ADDRESS, 32).address() != 0) {
      device.free(weight.get(ADDRESS, 32));
    }
  }

  /**
   * A decoder's layout.
   *
   * @param bits of all weights but the head's
   * @param kvBits of the cache
   */
  record Layout(int bits, int headBits, int kvBits) {
    @Override
    public String toString() {
      return "%d bits, head %d, cache %d".formatted(bits, headBits, kvBits);
    }
  }

  /**
   * Tokens per second of a decoder with random weights.
   *
   * @param context positions that each sequence holds
   * @param baseline tokens per second of the 16-bit layout in this run; null for none
   */
  double decode(
      String name, DecoderShape s, Layout layout, int batch, int context, Double baseline) {
    List<MemorySegment> weights = new ArrayList<>();
    List<MemorySegment> vectors = new ArrayList<>();
    MemorySegment ones = ones(Math.max(s.width(), s.qkv()));
    for (int i = 0; i < s.layers(); i++) {
      weights.add(weight(layout.bits(), s.qkv(), s.width(), group(layout.bits(), s.width()), i));
      int all = s.heads() * s.headDim();
      weights.add(weight(layout.bits(), s.width(), all, group(layout.bits(), all), i + 1000));
      weights.add(
          weight(layout.bits(), 2 * s.mlp(), s.width(), group(layout.bits(), s.width()), i + 2000));
      weights.add(
          weight(layout.bits(), s.width(), s.mlp(), group(layout.bits(), s.mlp()), i + 3000));
      vectors.addAll(List.of(ones, MemorySegment.NULL, ones));
    }
    int headGroup = group(layout.headBits(), s.width());
    weights.add(weight(layout.headBits(), s.vocab(), s.width(), headGroup, 4000));
    vectors.add(ones);
    DecoderChecks.Parts parts = new DecoderChecks.Parts();
    parts.weights.addAll(weights);
    parts.vectors.addAll(vectors);
    MemorySegment[] tables = DecoderChecks.tables(arena, parts);
    MemorySegment out = arena.allocate(ADDRESS);
    library.checked(
        "gkc_decoder_new",
        DecoderChecks.config(arena, s, batch, context, batch, layout.kvBits()),
        tables[0],
        weights.size(),
        tables[1],
        vectors.size(),
        out);
    MemorySegment decoder = out.get(ADDRESS, 0);
    double time = token(decoder, s, batch, context);
    long memory =
        weights.stream().mapToLong(CudaBench::bytes).sum()
            + library.callLong("gkc_decoder_bytes", decoder);
    String row = "decode %s, %s, batch %d, context %d".formatted(name, layout, batch, context);
    double speed = batch / time;
    report.row(
        row,
        speed,
        "tokens/s",
        baseline == null ? null : "16 bits",
        baseline == null ? null : speed / baseline);
    report.row(row, (double) memory, "B", null, null);
    library.run("gkc_decoder_free", decoder);
    weights.forEach(this::free);
    device.free(ones);
    return speed;
  }

  private static int group(int bits, int cols) {
    return bits == 16 ? cols : 128;
  }

  private MemorySegment ones(int n) {
    float[] values = new float[n];
    Arrays.fill(values, 1f);
    MemorySegment out = device.allocate(4L * n);
    device.write(out, MemorySegment.ofArray(values));
    return out;
  }

  /** Seconds of a token in every sequence, each at its last position. */
  private double token(MemorySegment decoder, DecoderShape s, int batch, int context) {
    int[] slots = new int[batch];
    Arrays.setAll(slots, i -> i);
    int[] positions = new int[batch];
    MemorySegment at = device.allocate(4L * batch);
    MemorySegment which = device.allocate(4L * batch);
    MemorySegment rope = device.allocate(4L * batch * s.headDim());
    MemorySegment x = device.allocate(4L * batch * s.width());
    MemorySegment logits = device.allocate(4L * batch * s.vocab());
    device.write(which, MemorySegment.ofArray(slots));
    Arrays.fill(positions, context - 1);
    device.write(at, MemorySegment.ofArray(positions));
    device.write(rope, MemorySegment.ofArray(DecoderOracle.rope(positions, s.headDim())));
    device.write(x, arena.allocate(4L * batch * s.width()));
    double time =
        seconds(
            10,
            () -> library.checked("gkc_token", decoder, batch, which, at, rope, x, logits, stream));
    List.of(at, which, rope, x, logits).forEach(device::free);
    return time;
  }

  @Override
  public void close() {
    library.run("gkc_clock_free", clock);
    if (stream.address() != 0) {
      library.checked("gkc_stream_free", stream);
    }
    arena.close();
  }
}
