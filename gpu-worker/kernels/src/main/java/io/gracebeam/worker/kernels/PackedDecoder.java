package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.List;

/**
 * A decoder on packed weights in C. Made by {@link #of}; a {@link Session} of it decodes. Results
 * depend neither on the processor nor on threads nor on which rows are computed together.
 */
public final class PackedDecoder implements AutoCloseable {
  private static final String WHERE = "PackedDecoder";
  private static final long ALIGN = 64;
  private static final int LAYER_TENSORS = 7;

  /**
   * Capacity of a session.
   *
   * @param slots sequences with a cache of their own
   * @param positions of each
   * @param rows positions in one call
   * @param kvBits of a cached number: 16, or 8 with a scale for each head and position
   */
  public record Limits(int slots, int positions, int rows, int kvBits) {
    /** Validates the limits. */
    public Limits {
      Checks.positive(WHERE, "slots", slots);
      Checks.positive(WHERE, "positions", positions);
      Checks.positive(WHERE, "rows", rows);
      if (kvBits != 8 && kvBits != 16) {
        throw Checks.error(WHERE, "kvBits is %d, allowed are 8 and 16", kvBits);
      }
    }
  }

  /** Bytes that a session keeps to pass numbers in and out, beside what it reserves in C. */
  static long bufferBytes(DecoderShape shape, Limits limits) {
    long row = 2L * Integer.BYTES + (long) Float.BYTES * (shape.headDim() + shape.width());
    return limits.rows() * row + (long) Float.BYTES * logitRows(limits) * shape.vocab();
  }

  /**
   * Rows whose logits are computed together: one for each sequence, as generation wants them.
   * Logits of all rows of a prompt would be large.
   */
  private static int logitRows(Limits limits) {
    return Math.min(limits.rows(), limits.slots());
  }

  private final NativeKernels kernels;
  private final DecoderShape shape;
  private final Arena arena = Arena.ofShared();
  private final List<MemorySegment> tensors = new ArrayList<>();

  /** Whether this process can have one: the native kernels are in use. */
  public static boolean present() {
    return KernelProvider.best() instanceof NativeKernels;
  }

  /**
   * Packs the weights, which are not needed afterwards.
   *
   * @throws UnsupportedOperationException unless {@link #present}
   * @throws IllegalStateException if the system refuses the memory
   */
  public static PackedDecoder of(DecoderWeights weights) {
    if (KernelProvider.best() instanceof NativeKernels kernels) {
      return new PackedDecoder(kernels, weights);
    }
    throw new UnsupportedOperationException(
        "a packed decoder needs the native kernels, here are: " + KernelProvider.explain());
  }

  PackedDecoder(NativeKernels kernels, DecoderWeights weights) {
    this.kernels = kernels;
    this.shape = weights.shape();
    try {
      SegmentAllocator memory = memory(weights);
      for (DecoderWeights.Layer l : weights.layers()) {
        vector(l.norm());
        matrix(l.qkv(), memory);
        vector(l.bias());
        matrix(l.out(), memory);
        vector(l.mlpNorm());
        matrix(l.gateUp(), memory);
        matrix(l.down(), memory);
      }
      vector(weights.norm());
      matrix(weights.head(), memory);
    } catch (RuntimeException | OutOfMemoryError e) {
      arena.close();
      throw e;
    }
  }

  /** One block of memory for all matrices: small blocks would not fill their huge pages. */
  private SegmentAllocator memory(DecoderWeights weights) {
    long bytes = kernels.products().bytes(weights.head());
    for (DecoderWeights.Layer l : weights.layers()) {
      for (Matrix m : List.of(l.qkv(), l.out(), l.gateUp(), l.down())) {
        bytes += kernels.products().bytes(m);
      }
    }
    return SegmentAllocator.slicingAllocator(kernels.products().reserve(bytes, arena));
  }

  private void matrix(Matrix m, SegmentAllocator memory) {
    tensors.add(kernels.products().pack(m, memory.allocate(kernels.products().bytes(m), ALIGN)));
  }

  private void vector(float[] v) {
    tensors.add(v == null ? MemorySegment.NULL : arena.allocateFrom(JAVA_FLOAT, v));
  }

  /** Sizes. */
  public DecoderShape shape() {
    return shape;
  }

  /** Weights of a layer, by their place among its tensors. */
  public enum Weight {
    /** Queries, keys and values below each other. */
    QKV(1),
    /** The output projection of attention. */
    OUT(3),
    /** Gate and up below each other. */
    GATE_UP(5),
    /** The second product of the MLP. */
    DOWN(6);

    private final int place;

    Weight(int place) {
      this.place = place;
    }
  }

  /**
   * A weight of a layer, to be multiplied by itself. It is the decoder's own and no copy: closing
   * it does nothing, and it cannot be used when the decoder is closed.
   */
  public PackedMatrix matrix(int layer, Weight weight) {
    if (layer < 0 || layer >= shape.layers()) {
      throw Checks.error(WHERE, "layer is %d, allowed are 0 to %d", layer, shape.layers() - 1);
    }
    MemorySegment tensor = tensors.get(layer * LAYER_TENSORS + weight.place);
    return switch (weight) {
      case QKV -> new View(tensor, shape.qkv(), shape.width());
      case OUT -> new View(tensor, shape.width(), shape.heads() * shape.headDim());
      case GATE_UP -> new View(tensor, 2 * shape.mlp(), shape.width());
      case DOWN -> new View(tensor, shape.width(), shape.mlp());
    };
  }

  /** The head, without the norm before it, as {@link #matrix} gives a layer's weights. */
  public PackedMatrix head() {
    return new View(tensors.getLast(), shape.vocab(), shape.width());
  }

  private final class View implements PackedMatrix {
    private final MemorySegment weight;
    private final int rows;
    private final int cols;

    View(MemorySegment weight, int rows, int cols) {
      this.weight = weight;
      this.rows = rows;
      this.cols = cols;
    }

    @Override
    public void multiply(float[] x, int m, float[] y) {
      if (!arena.scope().isAlive()) {
        throw new IllegalStateException("the decoder is closed");
      }
      PackedWeight.checkProduct(WHERE, x, m, y, rows, cols);
      if (m > 0) {
        kernels.products().multiply(weight, rows, cols, x, m, y);
      }
    }

    @Override
    public long bytes() {
      return weight.byteSize();
    }

    @Override
    public void close() {
      // The weight is the decoder's.
    }
  }

  /** Bytes of weights as they lie in memory. */
  public long weightBytes() {
    return tensors.stream().mapToLong(MemorySegment::byteSize).sum();
  }

  /**
   * Opens a session for some sequences; all its memory is reserved here.
   *
   * @throws IllegalStateException if the system refuses the memory
   */
  public Session open(Limits limits) {
    return new Session(limits);
  }

  /** Sequences that are decoded: their key/value caches, and space to compute in. */
  public final class Session implements AutoCloseable {
    private final Limits limits;
    private final Arena own = Arena.ofShared();
    private final MemorySegment handle;
    private final MemorySegment rows;
    private final MemorySegment rope;
    private final MemorySegment states;
    private final MemorySegment logits;
    private boolean closed;

    private Session(Limits limits) {
      this.limits = limits;
      try {
        int n = limits.rows();
        this.rows = own.allocate(JAVA_INT, 2L * n);
        this.rope = own.allocate(JAVA_FLOAT, (long) n * shape.headDim());
        this.states = own.allocate(JAVA_FLOAT, (long) n * shape.width());
        this.logits = own.allocate(JAVA_FLOAT, (long) logitRows(limits) * shape.vocab());
        this.handle = kernels.newDecoder(config(), tensors);
      } catch (RuntimeException | OutOfMemoryError e) {
        own.close();
        throw e;
      }
    }

    /** gk_config. */
    private MemorySegment config() {
      int[] sizes = {
        shape.layers(),
        shape.width(),
        shape.heads(),
        shape.kvHeads(),
        shape.headDim(),
        shape.mlp(),
        shape.vocab(),
        limits.slots(),
        limits.positions(),
        limits.rows(),
        limits.kvBits()
      };
      MemorySegment c = own.allocate(JAVA_INT, sizes.length + 1L);
      MemorySegment.copy(sizes, 0, c, JAVA_INT, 0, sizes.length);
      c.setAtIndex(JAVA_FLOAT, sizes.length, shape.eps());
      return c;
    }

    /** Sizes of the decoder. */
    public DecoderShape shape() {
      return shape;
    }

    /** Bytes of caches and scratch space. */
    public synchronized long bytes() {
      check(1);
      return kernels.decoderBytes(handle) + bufferBytes(shape, limits);
    }

    /**
     * Runs rows through all layers. Row i continues sequence slots[i] at positions[i] and sees that
     * sequence up to there, rows of this call included; earlier positions must have been written.
     *
     * @param rope cosines and sines of each row, [rows, 2, headDim / 2]
     * @param x embeddings [rows, width]; becomes the states behind the last layer
     */
    public synchronized void forward(int[] slots, int[] positions, float[] rope, float[] x) {
      int n = slots.length;
      check(n);
      Checks.length(WHERE, "positions", positions.length, n);
      Checks.length(WHERE, "rope", rope.length, n * shape.headDim());
      Checks.length(WHERE, "x", x.length, n * shape.width());
      Checks.finite(WHERE, "x", x, 0, x.length);
      Checks.finite(WHERE, "rope", rope, 0, rope.length);
      for (int i = 0; i < n; i++) {
        inside("slots", i, slots[i], limits.slots());
        inside("positions", i, positions[i], limits.positions());
      }
      MemorySegment.copy(slots, 0, rows, JAVA_INT, 0, n);
      MemorySegment.copy(positions, 0, rows, JAVA_INT, (long) n * Integer.BYTES, n);
      MemorySegment.copy(rope, 0, this.rope, JAVA_FLOAT, 0, rope.length);
      MemorySegment.copy(x, 0, states, JAVA_FLOAT, 0, x.length);
      MemorySegment second = rows.asSlice((long) n * Integer.BYTES);
      kernels.forward(handle, n, rows, second, this.rope, states);
      MemorySegment.copy(states, JAVA_FLOAT, 0, x, 0, x.length);
    }

    private static void inside(String name, int i, int value, int limit) {
      if (value < 0 || value >= limit) {
        throw Checks.error(WHERE, "%s[%d] is %d, allowed are 0 to %d", name, i, value, limit - 1);
      }
    }

    /** Last norm and head of states [rows, width]: logits [rows, vocab]. */
    public float[] logits(float[] x) {
      float[] out = new float[Math.multiplyExact(x.length / shape.width(), shape.vocab())];
      logits(x, out, 0);
      return out;
    }

    /**
     * Writes the logits to {@code out} from {@code at} on. Logits are large: an array that is used
     * again for each token leaves nothing to the garbage collector.
     */
    public synchronized void logits(float[] x, float[] out, int at) {
      int n = x.length / shape.width();
      check(n);
      Checks.length(WHERE, "x", x.length, n * shape.width());
      Checks.finite(WHERE, "x", x, 0, x.length);
      if (at < 0 || (long) n * shape.vocab() > out.length - (long) at) {
        throw Checks.error(
            WHERE,
            "out has %d numbers from %d on, allowed are at least %d",
            out.length - at,
            at,
            (long) n * shape.vocab());
      }
      int most = logitRows(limits);
      for (int from = 0; from < n; from += most) {
        int count = Math.min(most, n - from);
        int width = shape.width();
        MemorySegment.copy(x, from * width, states, JAVA_FLOAT, 0, count * width);
        kernels.logits(handle, count, states, logits);
        int vocab = shape.vocab();
        MemorySegment.copy(logits, JAVA_FLOAT, 0, out, at + from * vocab, count * vocab);
      }
    }

    private void check(int n) {
      if (closed) {
        throw new IllegalStateException("the session is closed");
      }
      if (!arena.scope().isAlive()) {
        throw new IllegalStateException("the decoder is closed");
      }
      if (n < 1 || n > limits.rows()) {
        throw Checks.error(WHERE, "there are %d rows, allowed are 1 to %d", n, limits.rows());
      }
    }

    @Override
    public synchronized void close() {
      if (!closed) {
        closed = true;
        kernels.freeDecoder(handle);
        own.close();
      }
    }
  }

  /** Frees the weights; no session may be computing, and none can afterwards. */
  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }
}
