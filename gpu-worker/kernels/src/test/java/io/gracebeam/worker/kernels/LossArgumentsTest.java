package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** Wrong arguments of the losses' functions in C. */
class LossArgumentsTest {
  /** The functions in C on their own: every wrong argument has its code, and nothing is touched. */
  @Test
  void everyWrongArgumentHasItsCode() {
    NativeTwins.all();
    NativeLibrary library = NativeLibrary.load();
    MethodHandle token =
        library.onHeap(
            "gk_token_losses",
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            ADDRESS);
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment z = arena.allocateFrom(JAVA_FLOAT, 1, 2, 3, 4);
      MemorySegment out = arena.allocateFrom(JAVA_FLOAT, 7, 7, 7, 7);
      MemorySegment losses = arena.allocateFrom(JAVA_DOUBLE, 7, 7, 7, 7);
      MemorySegment y = arena.allocateFrom(JAVA_INT, 0, 1);
      MemorySegment ids = arena.allocateFrom(JAVA_INT, 0, 1, 1, 2);
      MemorySegment known = arena.allocate(JAVA_DOUBLE, 6);
      MemorySegment none = MemorySegment.NULL;
      double[][] wrong = {
        {-1, 2, 0, 0, 1, 0, 2, 1, 4, 1}, {2, 1, 0, 0, 1, 0, 2, 1, 4, 1},
        {2, 2, 3, 1, 1, 0, 2, 1, 4, 1}, {2, 2, 1, 0, 1, 0, 2, 1, 4, 1},
        {2, 2, 0, 1, 1, 0, 2, 1, 4, 1}, {2, 2, -1, 0, 1, 0, 2, 1, 4, 1},
        {2, 2, 0, 0, 2, 0, 2, 1, 4, 1}, {2, 2, 0, 0, 1, 1, 2, 1, 4, 1},
        {2, 2, 0, 0, 1, 0, Double.NaN, 1, 4, 1}, {2, 2, 0, 0, 1, 0, 0, 1, 4, 1},
        {2, 2, 0, 0, 1, 0, 2, -1, 4, 1}, {2, 2, 0, 0, 1, 0, 2, 1, Double.NaN, 1},
        {2, 2, 0, 0, 1, 0, 2, 1, 4, Double.POSITIVE_INFINITY}
      };
      for (double[] s : wrong) {
        int code =
            QuantizerKernelsTest.code(
                token, 0, shape(arena, s), z, y, z, ids, known, known, losses, out);
        assertThat(code).as(Arrays.toString(s)).isEqualTo(-1);
      }
      MemorySegment plain = shape(arena, 2, 2, 0, 0, 1, 0, 2, 1, 4, 1);
      MemorySegment full = shape(arena, 2, 2, 2, 0, 1, 0, 2, 1, 4, 1);
      MemorySegment listed = shape(arena, 2, 2, 2, 1, 1, 0, 2, 1, 4, 1);
      MemorySegment[][] missing = {
        {none, z, y, none, none, none, none, losses, out},
        {plain, none, y, none, none, none, none, losses, out},
        {plain, z, none, none, none, none, none, losses, out},
        {plain, z, y, none, none, none, none, none, out},
        {plain, z, y, none, none, none, none, losses, none},
        {full, z, y, none, none, none, known, losses, out},
        {full, z, y, z, none, none, none, losses, out},
        {listed, z, y, z, none, known, known, losses, out},
        {listed, z, y, z, ids, none, known, losses, out}
      };
      for (MemorySegment[] m : missing) {
        assertThat(QuantizerKernelsTest.code(token, 0, (Object[]) m)).isEqualTo(-2);
      }
      // An id and a target outside the vocabulary.
      assertThat(
              QuantizerKernelsTest.code(token, 0, listed, z, y, z, ids, known, known, losses, out))
          .isEqualTo(-1);
      MemorySegment outside = arena.allocateFrom(JAVA_INT, 0, -1);
      assertThat(
              QuantizerKernelsTest.code(
                  token, 0, plain, z, outside, none, none, none, none, losses, out))
          .isEqualTo(-1);
      assertThat(
              QuantizerKernelsTest.code(token, 7, plain, z, y, none, none, none, none, losses, out))
          .isEqualTo(-5);
      assertThat(out.toArray(JAVA_FLOAT)).containsOnly(7f);
      assertThat(losses.toArray(JAVA_DOUBLE)).containsOnly(7.0);
    }
  }

  /** A gk_losses: six integers and four numbers. */
  private static MemorySegment shape(Arena arena, double... fields) {
    MemorySegment s = arena.allocate(56, 8);
    for (int i = 0; i < 6; i++) {
      s.setAtIndex(JAVA_INT, i, (int) fields[i]);
    }
    for (int i = 6; i < 10; i++) {
      s.setAtIndex(JAVA_DOUBLE, i - 3, fields[i]);
    }
    return s;
  }
}
