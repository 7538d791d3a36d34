package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.gracebeam.worker.kernels.TrainingBlocks.Block;
import io.gracebeam.worker.kernels.TrainingBlocks.Kind;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.kernels.TrainingBlocks.Shape;
import io.gracebeam.worker.kernels.TrainingBlocks.Sizes;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * Blocks on their own: bits and bounds. Values and gradients are compared with an engine's graph
 * where there is one, in NativePassTest.
 */
class TrainingBlocksTest {
  private static final int GUARD = 64;
  private static final short POISON = 0x7FC1; // a NaN
  private static final Sizes LLAMA = new Sizes(Kind.LLAMA, 50, 6, 2, 10, 37, 1e-5f);
  private static final Sizes CLIP = new Sizes(Kind.CLIP, 27, 3, 3, 9, 41, 1e-5f);

  @BeforeEach
  void needsBfloat16() {
    assumeTrue(TrainingBlocks.present());
  }

  @Test
  void threadsDoNotChangeBits() {
    for (Sizes sizes : List.of(LLAMA, CLIP)) {
      Shape shape = new Shape(sizes, 3, 45);
      assertThat(run(shape, 7, false)).isEqualTo(run(shape, 1, false));
      assertThat(run(shape, 7, true)).isEqualTo(run(shape, 1, true));
    }
  }

  @Test
  void otherInstructionsRoundNoWorse() {
    for (Sizes sizes : List.of(LLAMA, CLIP)) {
      List<Short> a = run(new Shape(sizes, 2, 70), 1, false);
      List<Short> b = run(new Shape(sizes, 2, 70), 1, true);
      double square = 0;
      double all = 0;
      for (int i = 0; i < a.size(); i++) {
        float x = Float.intBitsToFloat(a.get(i) << 16);
        float y = Float.intBitsToFloat(b.get(i) << 16);
        square += (x - y) * (double) (x - y);
        all += x * (double) x;
      }
      assertThat(b).hasSameSizeAs(a);
      assertThat(Math.sqrt(square / all)).isLessThan(1e-3); // a few roundings to 8 bits that differ
    }
  }

  @Test
  void oneShortSequenceAndManyKeys() {
    for (Sizes sizes : List.of(LLAMA, CLIP)) {
      for (int length : new int[] {1, 31, 32, 33, 200}) {
        for (Short v : run(new Shape(sizes, 1, length), 2, false)) {
          assertThat(Float.intBitsToFloat(v << 16)).isFinite();
        }
      }
    }
  }

  @Test
  void refusesWhatDoesNotFit() {
    try (Arena arena = Arena.ofConfined();
        TrainingBlocks blocks = new TrainingBlocks(1)) {
      long[] none = new long[Parameter.values().length];
      MemorySegment rope = TrainingBlocks.rope(arena, new float[5], 4);
      Shape odd = new Shape(new Sizes(Kind.LLAMA, 50, 6, 4, 10, 37, 1e-5f), 1, 4);
      assertThatThrownBy(() -> blocks.forward(new Block(odd, none, rope), 1, 1, 0))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("sizes out of range");
      Shape longer = new Shape(LLAMA, 1, 5);
      assertThatThrownBy(() -> blocks.forward(new Block(longer, none, rope), 1, 1, 0))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("160 bytes, allowed is 200");
      Shape fits = new Shape(LLAMA, 1, 4);
      Block block = new Block(fits, none, rope);
      assertThatThrownBy(() -> blocks.forward(new Block(fits, new long[3], rope), 1, 1, 0))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("3 parameters");
      assertThatThrownBy(() -> blocks.forward(block, 1, 1, 0))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("-2"); // addresses of 0
      assertThatThrownBy(() -> blocks.backward(block, 1, 1, 1, none, 7))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("7 was asked for");
    }
  }

  /** Outputs and all gradients as their upper 16 bits; nothing beside them is written. */
  private static List<Short> run(Shape shape, int threads, boolean plain) {
    Sizes s = shape.sizes();
    List<Short> out = new ArrayList<>();
    try (Arena arena = Arena.ofConfined();
        TrainingBlocks blocks = new TrainingBlocks(threads, plain)) {
      Random random = new Random(5);
      long[] weights = new long[Parameter.values().length];
      long[] gradients = new long[weights.length];
      List<MemorySegment> sums = new ArrayList<>();
      for (Parameter p : Parameter.values()) {
        int size = size(s, p);
        if (size > 0) {
          weights[p.ordinal()] = halves(arena, size, random, 0.2f).address();
          sums.add(arena.allocate(JAVA_FLOAT, size));
          gradients[p.ordinal()] = sums.getLast().address();
        }
      }
      int count = shape.batch() * shape.length() * s.width();
      float[] inverse = new float[s.headDim() / 2];
      for (int i = 0; i < inverse.length; i++) {
        inverse[i] = (float) Math.pow(100, -i / 5.0);
      }
      MemorySegment rope =
          s.kind() == Kind.LLAMA ? TrainingBlocks.rope(arena, inverse, shape.length()) : null;
      MemorySegment x = halves(arena, count, random, 1);
      MemorySegment dY = halves(arena, count, random, 1);
      MemorySegment y = guarded(arena, count);
      MemorySegment dX = guarded(arena, count);
      Block block = new Block(shape, weights, rope);
      blocks.forward(block, x.address(), y.address() + 2 * GUARD, 0);
      blocks.backward(block, x.address(), dY.address(), dX.address() + 2 * GUARD, gradients, 0);
      collect(y, count, out);
      collect(dX, count, out);
      for (MemorySegment sum : sums) {
        for (float v : sum.toArray(JAVA_FLOAT)) {
          out.add((short) (Float.floatToRawIntBits(v) >>> 16));
        }
      }
    }
    return out;
  }

  private static int size(Sizes s, Parameter p) {
    boolean clip = s.kind() == Kind.CLIP;
    int kv = s.kvHeads() * s.headDim();
    int heads = s.heads() * s.headDim();
    return switch (p) {
      case NORM1, NORM2, OUT_BIAS, DOWN_BIAS -> s.width();
      case NORM1_BIAS, NORM2_BIAS -> clip ? s.width() : 0;
      case QUERY -> heads * s.width();
      case QUERY_BIAS -> heads;
      case KEY, VALUE -> kv * s.width();
      case KEY_BIAS, VALUE_BIAS -> kv;
      case OUT -> s.width() * heads;
      case GATE -> clip ? 0 : s.mlp() * s.width();
      case UP, DOWN -> s.mlp() * s.width();
      case UP_BIAS -> clip ? s.mlp() : 0;
    };
  }

  private static MemorySegment halves(Arena arena, int count, Random random, float spread) {
    MemorySegment out = arena.allocate(JAVA_SHORT, count);
    for (int i = 0; i < count; i++) {
      int bits = Float.floatToRawIntBits((float) random.nextGaussian() * spread);
      out.setAtIndex(JAVA_SHORT, i, (short) (bits >>> 16));
    }
    return out;
  }

  private static MemorySegment guarded(Arena arena, int count) {
    MemorySegment out = arena.allocate(JAVA_SHORT, count + 2L * GUARD);
    for (long i = 0; i < count + 2L * GUARD; i++) {
      out.setAtIndex(JAVA_SHORT, i, POISON);
    }
    return out;
  }

  private static void collect(MemorySegment from, int count, List<Short> out) {
    for (int i = 0; i < GUARD; i++) {
      assertThat(from.getAtIndex(JAVA_SHORT, i)).isEqualTo(POISON);
      assertThat(from.getAtIndex(JAVA_SHORT, (long) count + GUARD + i)).isEqualTo(POISON);
    }
    for (int i = 0; i < count; i++) {
      out.add(from.getAtIndex(JAVA_SHORT, (long) GUARD + i));
    }
  }
}
