package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * A decoder on packed weights in C: one call a token, with key/value caches of its own and all
 * memory reserved when it is made. Made by {@link NativeKernels#decoder}. Results depend neither on
 * the processor nor on threads nor on which rows are computed together.
 */
public final class PackedDecoder implements AutoCloseable {
  private static final String WHERE = "PackedDecoder";

  /**
   * What a decoder has room for.
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

  private final NativeKernels kernels;
  private final DecoderShape shape;
  private final Limits limits;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment handle;
  private final MemorySegment rows;
  private final MemorySegment rope;
  private final MemorySegment states;
  private final MemorySegment logits;
  private long weightBytes;
  private boolean closed;

  PackedDecoder(NativeKernels kernels, DecoderWeights weights, Limits limits) {
    this.kernels = kernels;
    this.shape = weights.shape();
    this.limits = limits;
    try {
      List<MemorySegment> tensors = new ArrayList<>();
      for (DecoderWeights.Layer l : weights.layers()) {
        tensors.add(vector(l.norm()));
        tensors.add(matrix(l.qkv()));
        tensors.add(l.bias() == null ? MemorySegment.NULL : vector(l.bias()));
        tensors.add(matrix(l.out()));
        tensors.add(vector(l.mlpNorm()));
        tensors.add(matrix(l.gateUp()));
        tensors.add(matrix(l.down()));
      }
      tensors.add(vector(weights.norm()));
      tensors.add(matrix(weights.head()));
      this.handle = kernels.newDecoder(config(), tensors);
      this.rows = arena.allocate(JAVA_INT, 2L * limits.rows());
      this.rope = arena.allocate(JAVA_FLOAT, (long) limits.rows() * shape.headDim());
      this.states = arena.allocate(JAVA_FLOAT, (long) limits.rows() * shape.width());
      this.logits = arena.allocate(JAVA_FLOAT, (long) limits.rows() * shape.vocab());
    } catch (RuntimeException | OutOfMemoryError e) {
      arena.close();
      throw e;
    }
  }

  private MemorySegment vector(float[] v) {
    MemorySegment s = arena.allocate(JAVA_FLOAT, v.length);
    MemorySegment.copy(v, 0, s, JAVA_FLOAT, 0, v.length);
    weightBytes += s.byteSize();
    return s;
  }

  private MemorySegment matrix(Matrix m) {
    MemorySegment s = kernels.pack(m, arena);
    weightBytes += s.byteSize();
    return s;
  }

  /** gk_config. */
  private MemorySegment config() {
    MemorySegment c = arena.allocate(12L * Integer.BYTES, Integer.BYTES);
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
    MemorySegment.copy(sizes, 0, c, JAVA_INT, 0, sizes.length);
    c.setAtIndex(JAVA_FLOAT, sizes.length, shape.eps());
    return c;
  }

  /** Sizes. */
  public DecoderShape shape() {
    return shape;
  }

  /** Bytes of weights as they lie in memory. */
  public long weightBytes() {
    return weightBytes;
  }

  /** Bytes of caches and scratch space. */
  public synchronized long workBytes() {
    rows(1);
    return kernels.decoderBytes(handle);
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
    rows(n);
    Checks.length(WHERE, "positions", positions.length, n);
    Checks.length(WHERE, "rope", rope.length, n * shape.headDim());
    Checks.length(WHERE, "x", x.length, n * shape.width());
    Checks.finite(WHERE, "x", x, 0, x.length);
    Checks.finite(WHERE, "rope", rope, 0, rope.length);
    for (int i = 0; i < n; i++) {
      if (slots[i] < 0 || slots[i] >= limits.slots()) {
        throw Checks.error(
            WHERE, "slots[%d] is %d, allowed are 0 to %d", i, slots[i], limits.slots() - 1);
      }
      if (positions[i] < 0 || positions[i] >= limits.positions()) {
        throw Checks.error(
            WHERE,
            "positions[%d] is %d, allowed are 0 to %d",
            i,
            positions[i],
            limits.positions() - 1);
      }
    }
    MemorySegment.copy(slots, 0, rows, JAVA_INT, 0, n);
    MemorySegment.copy(positions, 0, rows, JAVA_INT, (long) n * Integer.BYTES, n);
    MemorySegment.copy(rope, 0, this.rope, JAVA_FLOAT, 0, rope.length);
    MemorySegment.copy(x, 0, states, JAVA_FLOAT, 0, x.length);
    kernels.forward(handle, n, rows, rows.asSlice((long) n * Integer.BYTES), this.rope, states);
    MemorySegment.copy(states, JAVA_FLOAT, 0, x, 0, x.length);
  }

  /** Last norm and head of states [rows, width]: logits [rows, vocab]. */
  public synchronized float[] logits(float[] x) {
    int n = x.length / shape.width();
    rows(n);
    Checks.length(WHERE, "x", x.length, n * shape.width());
    Checks.finite(WHERE, "x", x, 0, x.length);
    MemorySegment.copy(x, 0, states, JAVA_FLOAT, 0, x.length);
    kernels.logits(handle, n, states, logits);
    float[] out = new float[n * shape.vocab()];
    MemorySegment.copy(logits, JAVA_FLOAT, 0, out, 0, out.length);
    return out;
  }

  private void rows(int n) {
    if (closed) {
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
      arena.close();
    }
  }
}
