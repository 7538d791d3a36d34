package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_FORMAT;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_POINTER;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_SIZE;
import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.worker.kernels.Bf16;
import io.gracebeam.worker.kernels.PackedWeight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Products with packed weights, emulated, against sums in double precision. */
class ProductTest {
  private static final int[] BITS = {2, 3, 4, 5, 8, 16};
  private static final int[] GROUPS = {32, 64, 96, 128, 160};

  private static ProductChecks checks(int order) {
    CudaLibrary library = Emulation.library(order);
    return new ProductChecks(library, new LibraryDevice(library));
  }

  @Property(tries = 60)
  void fewInputs(
      @ForAll @IntRange(min = 0, max = 5) int bits,
      @ForAll @IntRange(min = 0, max = 4) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 40) int rows,
      @ForAll @IntRange(min = 1, max = 16) int m,
      @ForAll boolean wide,
      @ForAll boolean exact,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    int g = GROUPS[group];
    checks(order).product(BITS[bits], rows, g * groups, g, m, wide, exact, seed);
  }

  @Property(tries = 25)
  void manyInputs(
      @ForAll @IntRange(min = 0, max = 5) int bits,
      @ForAll @IntRange(min = 0, max = 4) int group,
      @ForAll @IntRange(min = 1, max = 5) int groups,
      @ForAll @IntRange(min = 1, max = 140) int rows,
      @ForAll @IntRange(min = 17, max = 70) int m,
      @ForAll boolean wide,
      @ForAll boolean exact,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    int g = GROUPS[group];
    checks(order).product(BITS[bits], rows, g * groups, g, m, wide, exact, seed);
  }

  @Property(tries = 60)
  void zeroPointsAreTakenOff(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 0, max = 4) int group,
      @ForAll @IntRange(min = 1, max = 4) int groups,
      @ForAll @IntRange(min = 1, max = 140) int rows,
      @ForAll @IntRange(min = 1, max = 40) int m,
      @ForAll boolean exact,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    int g = GROUPS[group];
    checks(order).zeroPoints(bits, rows, g * groups, g, m, exact, seed);
  }

  @Test
  void severalRowBlocksShareTheirInputs() {
    // 530 row blocks: more than where a block takes two of them; the last one is alone.
    checks(1).product(4, 529 * 16 - 3, 64, 64, 2, false, false, 5);
    checks(2).product(8, 529 * 16 - 3, 32, 32, 9, true, true, 6);
    checks(3).product(16, 529 * 16 - 3, 32, 32, 1, true, true, 7);
  }

  @Property(tries = 12)
  void anInputsResultDoesNotDependOnOthers(
      @ForAll @IntRange(min = 1, max = 40) int m,
      @ForAll @IntRange(min = 1, max = 9) int order,
      @ForAll long seed) {
    checks(order).inputsAreIndependent(4, 33, 192, m, seed);
  }

  @Property(tries = 10)
  void roundingIsToNearestEven(@ForAll @IntRange(min = 1, max = 3000) int n, @ForAll long seed) {
    checks(0).rounding(n, seed);
  }

  @Test
  void sizesThatDoNotFitAreRefused() {
    CudaLibrary library = Emulation.library();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment w = arena.allocate(56, 8);
      int[][] bad = {
        {4, 0, 64, 32, 0},
        {4, -1, 64, 32, 0},
        {4, 8, 0, 32, 0},
        {4, 8, 40, 8, 0},
        {4, 8, 64, 48, 0},
        {4, 8, 64, 128, 0},
        {4, 8, 96, 64, 0},
        {4, 8, 64, 16, 0},
        {4, 8, 64, 64, 4},
        {16, 8, 64, 32, 0},
        {16, 8, 64, 64, 2},
        {4, 1 << 28, 1 << 28, 32, 0},
        {4, 8, 64, 0, 0}
      };
      for (int[] b : bad) {
        assertThat(library.call("gkc_weight_describe", b[0], b[1], b[2], b[3], b[4], w))
            .isEqualTo(BAD_SIZE);
      }
      for (int bits : new int[] {0, 1, 9, 15, 32, -4}) {
        assertThat(library.call("gkc_weight_describe", bits, 8, 64, 32, 0, w))
            .isEqualTo(BAD_FORMAT);
      }
      assertThat(library.call("gkc_weight_describe", 4, 8, 64, 32, 0, MemorySegment.NULL))
          .isEqualTo(BAD_POINTER);
      assertThat(w.toArray(JAVA_INT)).containsOnly(0);
    }
  }

  @Test
  void aWeightThatContradictsItselfIsRefusedAndNothingWritten() {
    CudaLibrary library = Emulation.library();
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(new LibraryDevice(library))) {
      PackedWeight packed = ProductChecks.quantized(new Random(1), 4, 20, 64, 32);
      MemorySegment good = ProductChecks.pack(library, arena, memory, packed, false);
      MemorySegment x = memory.shorts(Bf16.fromFloats(new float[3 * 64]));
      MemorySegment y = memory.output(4 * 3 * 20);
      MemorySegment words = memory.ints(packed.words());
      MemorySegment scales = memory.floats(packed.scales());
      MemorySegment none = MemorySegment.NULL;
      for (int field = 0; field < 6; field++) {
        MemorySegment bad = arena.allocate(56, 8).copyFrom(good);
        bad.setAtIndex(JAVA_INT, field, bad.getAtIndex(JAVA_INT, field) + 64);
        assertThat(library.call("gkc_matmul", bad, x, 3, y, 0, STREAM)).isEqualTo(BAD_FORMAT);
        assertThat(library.call("gkc_pack", words, scales, none, 4, bad, STREAM))
            .isEqualTo(BAD_FORMAT);
      }
      for (int field : new int[] {40, 48}) {
        MemorySegment bad = arena.allocate(56, 8).copyFrom(good);
        bad.set(JAVA_LONG, field, bad.get(JAVA_LONG, field) - 16);
        assertThat(library.call("gkc_matmul", bad, x, 3, y, 0, STREAM)).isEqualTo(BAD_FORMAT);
      }
      for (int field : new int[] {24, 32}) {
        for (long address : new long[] {0, 8}) {
          MemorySegment bad = arena.allocate(56, 8).copyFrom(good);
          bad.set(JAVA_LONG, field, address == 0 ? 0 : bad.get(JAVA_LONG, field) + address);
          assertThat(library.call("gkc_matmul", bad, x, 3, y, 0, STREAM)).isEqualTo(BAD_POINTER);
        }
      }
      assertThat(library.call("gkc_matmul", MemorySegment.NULL, x, 3, y, 0, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_matmul", good, x.asSlice(2), 2, y, 0, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_matmul", good, MemorySegment.NULL, 3, y, 0, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_matmul", good, x, 3, MemorySegment.NULL, 0, STREAM))
          .isEqualTo(BAD_POINTER);
      for (int m : new int[] {0, -1, Integer.MAX_VALUE}) {
        assertThat(library.call("gkc_matmul", good, x, m, y, 0, STREAM)).isEqualTo(BAD_SIZE);
      }
      assertThat(library.call("gkc_pack", words, scales, none, 8, good, STREAM))
          .isEqualTo(BAD_FORMAT);
      assertThat(library.call("gkc_pack", words, none, none, 4, good, STREAM))
          .isEqualTo(BAD_POINTER);
      // Zero points are called for where a weight has them, and nowhere else.
      assertThat(library.call("gkc_pack", words, scales, words, 4, good, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_pack_bf16", words, good, STREAM)).isEqualTo(BAD_FORMAT);
      assertThat(library.call("gkc_round_bf16", scales, 0L, y, STREAM)).isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_round_bf16", scales, 4L, MemorySegment.NULL, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(memory.untouched(y)).isTrue();
    }
  }
}
