package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/**
 * Products of bfloat16 matrices against sums in double, at sizes that fit no tile, in all four
 * layouts, on an OpenMP run time that gives one thread whatever is asked for.
 */
class Bfloat16ProductsTest {
  private static final int GUARD = 64;
  private static final short POISON = 0x7FC1; // a NaN

  @Property(tries = 150)
  void agreesWithDoubles(
      @ForAll @IntRange(min = 1, max = 150) int m,
      @ForAll @IntRange(min = 1, max = 150) int n,
      @ForAll @IntRange(min = 1, max = 600) int k,
      @ForAll boolean transposeA,
      @ForAll boolean transposeB,
      @ForAll long seed) {
    if (Bfloat16Products.present()) { // an assumption would count as an input of the wrong kind
      check(m, n, k, transposeA, transposeB, seed);
    }
  }

  @Test
  void agreesWhereBlocksAreCut() {
    check(
        129, 545, 257, true, false, 1); // more left rows, right columns and depth than a block has
    check(545, 1100, 31, false, true, 2);
    check(1, 1025, 1, false, false, 3);
  }

  @Test
  void agreesWithoutAmx() {
    check(new Case(129, 545, 257, true, false, 4, true));
    check(new Case(31, 70, 33, false, true, 5, true));
  }

  @Test
  void layoutAndThreadsDoNotChangeBits() {
    short[] once = check(70, 200, 300, false, false, 9);
    assertThat(check(70, 200, 300, true, false, 9)).isEqualTo(once);
    assertThat(check(70, 200, 300, false, true, 9)).isEqualTo(once);
    assertThat(multiply(new Case(70, 200, 300, true, true, 9, false), 7)).isEqualTo(once);
  }

  @Test
  void refusesWhatIsOutOfRange() {
    assumeTrue(Bfloat16Products.present());
    try (Arena arena = Arena.ofConfined();
        Bfloat16Products products = open(arena, 2, false)) {
      assertThatThrownBy(() -> products.multiply(0, 1, 1, at(1, 1, 1), at(1, 1, 1), 1))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("sizes 0, 1, 1");
      assertThatThrownBy(() -> products.multiply(4, 4, 4, at(1, 8, 2), at(1, 4, 1), 1))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("strides (8, 2)");
      assertThatThrownBy(() -> products.multiply(4, 4, 4, at(0, 4, 1), at(0, 4, 1), 0))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("-2");
    }
  }

  private record Case(
      int m, int n, int k, boolean transposeA, boolean transposeB, long seed, boolean plain) {}

  private static short[] check(
      int m, int n, int k, boolean transposeA, boolean transposeB, long seed) {
    return check(new Case(m, n, k, transposeA, transposeB, seed, false));
  }

  private static short[] check(Case c) {
    int m = c.m;
    int n = c.n;
    int k = c.k;
    short[] out = multiply(c, 3);
    float[][] a = matrix(m, k, c.seed);
    float[][] b = matrix(k, n, c.seed + 1);
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double sum = 0;
        double size = 0;
        for (int x = 0; x < k; x++) {
          sum += (double) a[i][x] * b[x][j];
          size += Math.abs((double) a[i][x] * b[x][j]);
        }
        // Half a unit of bfloat16's 8 bits, and float32's rounding of each of the k sums.
        double bound = Math.abs(sum) / 256 + size * (k + 1) * 0x1p-23 + Float.MIN_NORMAL;
        assertThat((double) Float.intBitsToFloat(out[i * n + j] << 16))
            .isBetween(sum - bound, sum + bound);
      }
    }
    return out;
  }

  private static Bfloat16Products.Operand at(long address, long row, long col) {
    return new Bfloat16Products.Operand(address, row, col);
  }

  private static short[] multiply(Case c, int threads) {
    assumeTrue(Bfloat16Products.present());
    try (Arena arena = Arena.ofConfined();
        Bfloat16Products products = open(arena, threads, c.plain)) {
      MemorySegment a = stored(arena, matrix(c.m, c.k, c.seed), c.transposeA);
      MemorySegment b = stored(arena, matrix(c.k, c.n, c.seed + 1), c.transposeB);
      MemorySegment out = arena.allocate(JAVA_SHORT, (long) c.m * c.n + 2 * GUARD);
      for (long i = 0; i < (long) c.m * c.n + 2 * GUARD; i++) {
        out.setAtIndex(JAVA_SHORT, i, POISON);
      }
      products.multiply(
          c.m,
          c.n,
          c.k,
          at(a.address(), c.transposeA ? 1 : c.k, c.transposeA ? c.m : 1),
          at(b.address(), c.transposeB ? 1 : c.n, c.transposeB ? c.k : 1),
          out.address() + 2 * GUARD);
      for (int i = 0; i < GUARD; i++) {
        assertThat(out.getAtIndex(JAVA_SHORT, i)).isEqualTo(POISON);
        assertThat(out.getAtIndex(JAVA_SHORT, (long) c.m * c.n + GUARD + i)).isEqualTo(POISON);
      }
      return out.asSlice(2 * GUARD, 2L * c.m * c.n).toArray(JAVA_SHORT);
    }
  }

  private static float[][] matrix(int rows, int cols, long seed) {
    Random random = new Random(seed);
    float[][] out = new float[rows][cols];
    for (float[] row : out) {
      for (int i = 0; i < cols; i++) {
        int bits = Float.floatToRawIntBits((float) random.nextGaussian());
        row[i] = Float.intBitsToFloat(bits & 0xFFFF0000);
      }
    }
    return out;
  }

  private static MemorySegment stored(Arena arena, float[][] values, boolean transposed) {
    int rows = values.length;
    int cols = values[0].length;
    MemorySegment out = arena.allocate(JAVA_SHORT, (long) rows * cols);
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < cols; c++) {
        short bits = (short) (Float.floatToRawIntBits(values[r][c]) >>> 16);
        out.setAtIndex(JAVA_SHORT, transposed ? (long) c * rows + r : (long) r * cols + c, bits);
      }
    }
    return out;
  }

  private static Bfloat16Products open(Arena arena, int threads, boolean plain) {
    return new Bfloat16Products(
        OneThread.parallel(arena),
        OneThread.thread(arena),
        OneThread.threads(arena),
        threads,
        plain);
  }
}
