package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.List;

/**
 * Transformer blocks in training: forward and backward passes, with gradients in closed form, in
 * bfloat16 with float32 sums, on AMX or AVX-512. Arrays are native memory of the caller's,
 * row-major. Results do not depend on the threads. Not safe for concurrent use.
 */
public final class TrainingBlocks implements AutoCloseable {
  private static final long SHAPE_BYTES = 40; // gk_train_shape

  /** What a block is made of; the order is gk_train_shape's. */
  public enum Kind {
    /** RMSNorm, rotary positions (half-split), causal attention, SwiGLU. */
    LLAMA,
    /** LayerNorm, attention over all positions, x sigmoid(1.702 x). */
    CLIP
  }

  /** A block's parameters, in the order of the native kernels' arrays. */
  public enum Parameter {
    NORM1,
    NORM1_BIAS,
    QUERY,
    QUERY_BIAS,
    KEY,
    KEY_BIAS,
    VALUE,
    VALUE_BIAS,
    OUT,
    OUT_BIAS,
    NORM2,
    NORM2_BIAS,
    GATE,
    UP,
    UP_BIAS,
    DOWN,
    DOWN_BIAS
  }

  /**
   * Sizes of a block.
   *
   * @param headDim of each of {@code heads} query heads and {@code kvHeads} key and value heads
   * @param mlp width between the MLP's products
   * @param eps of the norms
   */
  public record Sizes(
      Kind kind, int width, int heads, int kvHeads, int headDim, int mlp, float eps) {}

  /** Inputs [batch, length, width] of a block of some sizes. */
  public record Shape(Sizes sizes, int batch, int length) {}

  /**
   * One block at some shape.
   *
   * @param parameters addresses of the bfloat16 parameters, by {@link Parameter}; 0 for one that is
   *     missing
   * @param rope see {@link #rope}, for the shape's length; null for {@link Kind#CLIP}
   */
  @SuppressWarnings("ArrayRecordComponent") // compared by nobody
  public record Block(Shape shape, long[] parameters, MemorySegment rope) {}

  private final boolean plain;
  private final NativeLibrary library;
  private final MemorySegment pool;
  private final MethodHandle savedBytes;
  private final MethodHandle scratchBytes;
  private final MethodHandle forward;
  private final MethodHandle backward;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment shape = arena.allocate(SHAPE_BYTES, Long.BYTES);
  private final MemorySegment weights = arena.allocate(ADDRESS, Parameter.values().length);
  private final MemorySegment gradients = arena.allocate(ADDRESS, Parameter.values().length);
  private final ScratchBuffer scratch;
  private final List<ScratchBuffer> saved = new ArrayList<>();

  /**
   * Opens the blocks.
   *
   * @param threads that work together
   * @throws UnsupportedOperationException unless {@link #present}
   */
  public TrainingBlocks(int threads) {
    this(threads, false);
  }

  /** Blocks without AMX, even where the processor has it, if {@code plain}. */
  TrainingBlocks(int threads, boolean plain) {
    this.plain = plain;
    this.library = Bfloat16Products.library();
    if (library == null) {
      throw new UnsupportedOperationException("no native kernels for bfloat16 products here");
    }
    this.pool = library.newPool(threads);
    this.scratch = new ScratchBuffer(library);
    this.savedBytes = library.function("gk_train_saved", JAVA_LONG, ADDRESS);
    this.scratchBytes = library.function("gk_train_scratch", JAVA_LONG, ADDRESS, ADDRESS);
    this.forward =
        library.function(
            "gk_train_forward",
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG);
    this.backward =
        library.function(
            "gk_train_backward",
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            ADDRESS,
            ADDRESS,
            JAVA_LONG);
  }

  /** Whether the native kernels are in use and the processor has AVX-512 for bfloat16. */
  public static boolean present() {
    return Bfloat16Products.present();
  }

  /**
   * Cosines and sines [length, 2, headDim / 2] of {@link Kind#LLAMA}'s positions.
   *
   * @param inverse frequencies [headDim / 2]
   */
  public static MemorySegment rope(Arena arena, float[] inverse, int length) {
    int half = inverse.length;
    MemorySegment out = arena.allocate(JAVA_FLOAT, 2L * length * half);
    for (int p = 0; p < length; p++) {
      for (int i = 0; i < half; i++) {
        float angle = p * inverse[i];
        out.setAtIndex(JAVA_FLOAT, 2L * p * half + i, (float) Math.cos(angle));
        out.setAtIndex(JAVA_FLOAT, (2L * p + 1) * half + i, (float) Math.sin(angle));
      }
    }
    return out;
  }

  /**
   * y = block(x). What the backward pass needs is kept under a number, in the place of what was
   * there.
   *
   * @param x address of the bfloat16 inputs [batch, length, width]
   * @param y address of the outputs
   * @throws IllegalArgumentException for sizes out of range or a table of another length
   */
  public void forward(Block block, long x, long y, int number) {
    write(block);
    while (saved.size() <= number) {
      saved.add(new ScratchBuffer(library));
    }
    try {
      MemorySegment kept = saved.get(number).atLeast(keptBytes());
      MemorySegment space =
          scratch.atLeast(NativeLibrary.checked((long) scratchBytes.invokeExact(pool, shape)));
      NativeLibrary.checked(
          (int)
              forward.invokeExact(
                  pool,
                  shape,
                  weights,
                  table(block.rope()),
                  x,
                  kept,
                  kept.byteSize(),
                  y,
                  space,
                  space.byteSize()));
    } catch (Throwable e) {
      throw NativeLibrary.impossible(e);
    }
  }

  /**
   * Backward pass from what {@link #forward} kept under a number, for the same inputs.
   *
   * @param dY address of the gradient with respect to y, bfloat16
   * @param dX address where the gradient with respect to x is written
   * @param added addresses of float32 sums that the gradients with respect to the parameters are
   *     added to; 0 for one that is not wanted
   */
  public void backward(Block block, long x, long dY, long dX, long[] added, int number) {
    write(block);
    if (number >= saved.size() || added.length != Parameter.values().length) {
      throw Checks.error("training block", "has %d states, %d was asked for", saved.size(), number);
    }
    MemorySegment.copy(added, 0, gradients, JAVA_LONG, 0, added.length);
    try {
      MemorySegment kept = saved.get(number).atLeast(keptBytes());
      MemorySegment space =
          scratch.atLeast(NativeLibrary.checked((long) scratchBytes.invokeExact(pool, shape)));
      NativeLibrary.checked(
          (int)
              backward.invokeExact(
                  pool,
                  shape,
                  weights,
                  table(block.rope()),
                  x,
                  kept,
                  kept.byteSize(),
                  dY,
                  dX,
                  gradients,
                  space,
                  space.byteSize()));
    } catch (Throwable e) {
      throw NativeLibrary.impossible(e);
    }
  }

  private long keptBytes() throws Throwable {
    long bytes = (long) savedBytes.invokeExact(shape);
    if (bytes < 0) {
      throw Checks.error("training block", "has sizes out of range (code %d)", bytes);
    }
    return bytes;
  }

  private void write(Block block) {
    Shape of = block.shape();
    long[] addresses = block.parameters();
    MemorySegment rope = block.rope();
    Sizes s = of.sizes();
    int count = Parameter.values().length;
    if (addresses.length != count) {
      throw Checks.error(
          "training block", "has %d parameters, allowed is %d", addresses.length, count);
    }
    long table = s.kind() == Kind.LLAMA ? 4L * of.length() * s.headDim() : 0;
    if ((rope == null ? 0 : rope.byteSize()) != table) {
      throw Checks.error(
          "training block",
          "has a table of positions of %d bytes, allowed is %d",
          rope == null ? 0 : rope.byteSize(),
          table);
    }
    int[] sizes = {
      s.kind().ordinal(),
      of.batch(),
      of.length(),
      s.width(),
      s.heads(),
      s.kvHeads(),
      s.headDim(),
      s.mlp()
    };
    MemorySegment.copy(sizes, 0, shape, JAVA_INT, 0, sizes.length);
    shape.setAtIndex(JAVA_FLOAT, sizes.length, s.eps());
    shape.setAtIndex(JAVA_INT, sizes.length + 1L, plain ? 1 : 0);
    MemorySegment.copy(addresses, 0, weights, JAVA_LONG, 0, count);
  }

  /** Bytes that are held from call to call: the blocks' states, and scratch space. */
  public long heldBytes() {
    return scratch.bytes() + saved.stream().mapToLong(ScratchBuffer::bytes).sum();
  }

  private static MemorySegment table(MemorySegment rope) {
    return rope == null ? MemorySegment.NULL : rope;
  }

  @Override
  public void close() {
    library.freePool(pool);
    scratch.close();
    saved.forEach(ScratchBuffer::close);
    arena.close();
  }
}
