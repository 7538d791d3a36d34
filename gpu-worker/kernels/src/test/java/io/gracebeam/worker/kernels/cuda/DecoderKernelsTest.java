package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_FORMAT;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_POINTER;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_SIZE;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.NO_SPACE;
import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.worker.kernels.DecoderShape;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A decoder's steps and the whole of it, emulated, against loops in double precision. */
class DecoderKernelsTest {
  private static DecoderChecks checks(int order) {
    CudaLibrary library = Emulation.library(order);
    return new DecoderChecks(library, new LibraryDevice(library));
  }

  @Property(tries = 25)
  void normsAndGates(
      @ForAll @IntRange(min = 1, max = 5) int rows,
      @ForAll @IntRange(min = 1, max = 700) int width,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    checks(order).norm(rows, width, seed);
    checks(order).gate(rows, width, seed);
  }

  @Property(tries = 30)
  void attentionOverShortAndLongSequences(
      @ForAll @IntRange(min = 1, max = 6) int group,
      @ForAll @IntRange(min = 1, max = 3) int kvHeads,
      @ForAll @IntRange(min = 1, max = 32) int eights,
      @ForAll @IntRange(min = 1, max = 12) int length,
      @ForAll boolean small,
      @ForAll boolean bias,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    DecoderChecks.Heads h =
        new DecoderChecks.Heads(
            group * kvHeads, kvHeads, 8 * eights, 2, length + 5, small ? 8 : 16);
    checks(order).attention(h, length, bias, seed);
  }

  @Test
  void attentionOverSeveralSplits() {
    checks(1).attention(new DecoderChecks.Heads(2, 1, 16, 2, 300, 16), 261, false, 1);
    checks(2).attention(new DecoderChecks.Heads(2, 2, 8, 1, 260, 8), 257, true, 2);
  }

  @ParameterizedTest
  @CsvSource({
    "4, 8, 16, true, 4, 2, 16, 9",
    "4, 4, 8, false, 2, 2, 32, 7",
    "3, 16, 16, false, 4, 1, 8, 20",
    "16, 16, 16, true, 2, 1, 48, 5",
    "8, 8, 8, false, 4, 4, 8, 1"
  })
  void decoderIsTheOracle(
      int bits,
      int headBits,
      int kvBits,
      boolean bias,
      int heads,
      int kvHeads,
      int headDim,
      int length) {
    DecoderShape shape = new DecoderShape(2, 64, heads, kvHeads, headDim, 96, 37, 1e-5f);
    checks(length).decoder(new DecoderChecks.Model(shape, bits, headBits, kvBits, bias), length, 3);
  }

  @Test
  void badArgumentsAreRefusedAndNothingWritten() {
    CudaLibrary library = Emulation.library();
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(new LibraryDevice(library))) {
      MemorySegment in = memory.floats(new float[64]);
      MemorySegment rows = memory.ints(0, 0);
      MemorySegment out = memory.output(1024);
      MemorySegment none = MemorySegment.NULL;
      assertThat(library.call("gkc_rms_norm", in, in, 0, 8, 1e-5f, out, STREAM))
          .isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_rms_norm", in, in, 1, 8, 0f, out, STREAM)).isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_rms_norm", none, in, 1, 8, 1e-5f, out, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_swiglu", in, 1, -3, out, STREAM)).isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_swiglu", in, 1, 8, out.asSlice(2), STREAM))
          .isEqualTo(BAD_POINTER);
      int[] good = {2, 1, 8, 1, 4, 16};
      int[][] bad = {
        {3, 2, 8, 1, 4, 16},
        {2, 1, 12, 1, 4, 16},
        {2, 1, 264, 1, 4, 16},
        {2, 1, 8, 0, 4, 16},
        {2, 1, 8, 1, 0, 16},
        {2, 1, 8, 1, 4, 4},
        {4096, 1, 8, 1, 4, 16}
      };
      for (int[] sizes : bad) {
        MemorySegment cache = cache(arena, out, sizes);
        assertThat(library.callLong("gkc_attention_bytes", cache, 1)).isEqualTo(BAD_SIZE);
        assertThat(library.call("gkc_rotate", cache, in, in, rows, rows, in, 1, out, STREAM))
            .isEqualTo(BAD_SIZE);
        assertThat(library.call("gkc_attention", cache, in, rows, rows, 1, out, out, 4096L, STREAM))
            .isEqualTo(BAD_SIZE);
      }
      MemorySegment cache = cache(arena, out, good);
      assertThat(library.call("gkc_rotate", cache, in, in, rows, none, in, 1, out, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_rotate", cache, in, in, rows, rows, in, 0, out, STREAM))
          .isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_attention", cache, in, rows, rows, 1, out, out, 16L, STREAM))
          .isEqualTo(NO_SPACE);
      cache.set(ADDRESS, 24, none);
      assertThat(library.call("gkc_attention", cache, in, rows, rows, 1, out, out, 4096L, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(memory.untouched(out)).isTrue();
    }
  }

  private static MemorySegment cache(Arena arena, MemorySegment memory, int[] sizes) {
    MemorySegment c = arena.allocate(56, 8);
    MemorySegment.copy(sizes, 0, c, JAVA_INT, 0, sizes.length);
    for (int at = 24; at < 56; at += 8) {
      c.set(ADDRESS, at, memory);
    }
    return c;
  }

  @Test
  void aDecoderWhosePartsDoNotFitIsRefused() {
    CudaLibrary library = Emulation.library();
    DecoderShape shape = new DecoderShape(1, 32, 2, 1, 16, 32, 9, 1e-6f);
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(new LibraryDevice(library))) {
      DecoderChecks.Model model = new DecoderChecks.Model(shape, 4, 8, 16, false);
      DecoderChecks.Parts parts =
          new DecoderChecks(library, new LibraryDevice(library))
              .parts(model, new java.util.Random(1), arena, memory);
      MemorySegment[] t = DecoderChecks.tables(arena, parts);
      MemorySegment out = arena.allocate(ADDRESS);
      MemorySegment config = DecoderChecks.config(arena, shape, 1, 8, 2, 16);
      for (int field = 0; field < 11; field++) {
        MemorySegment wrong = arena.allocate(48, 8).copyFrom(config);
        wrong.setAtIndex(JAVA_INT, field, field < 7 ? wrong.getAtIndex(JAVA_INT, field) * 3 : 0);
        out.set(ADDRESS, 0, config);
        assertThat(library.call("gkc_decoder_new", wrong, t[0], 5, t[1], 4, out))
            .as("field %d", field)
            .isEqualTo(BAD_SIZE);
        assertThat(out.get(ADDRESS, 0)).isEqualTo(MemorySegment.NULL);
      }
      assertThat(library.call("gkc_decoder_new", config, t[0], 4, t[1], 4, out))
          .isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_decoder_new", config, t[0], 5, MemorySegment.NULL, 4, out))
          .isEqualTo(BAD_POINTER);
      t[0].setAtIndex(JAVA_INT, 0, 99);
      assertThat(library.call("gkc_decoder_new", config, t[0], 5, t[1], 4, out))
          .isEqualTo(BAD_FORMAT);
      t[0].setAtIndex(JAVA_INT, 0, CudaLibrary.VERSION);
      library.checked("gkc_decoder_new", config, t[0], 5, t[1], 4, out);
      MemorySegment decoder = out.get(ADDRESS, 0);
      MemorySegment x = memory.output(4L * 3 * 32);
      MemorySegment rows = memory.ints(0, 0, 0);
      MemorySegment rope = memory.floats(new float[48]);
      for (int n : new int[] {0, 3, -1}) {
        assertThat(library.call("gkc_forward", decoder, n, rows, rows, rope, x, STREAM))
            .isEqualTo(BAD_SIZE);
        assertThat(library.call("gkc_logits", decoder, n, x, x, STREAM)).isEqualTo(BAD_SIZE);
      }
      assertThat(
              library.call(
                  "gkc_token", decoder, 1, rows, rows, rope, x, MemorySegment.NULL, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_forward", MemorySegment.NULL, 1, rows, rows, rope, x, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(memory.untouched(x)).isTrue();
      library.run("gkc_decoder_free", decoder);
      library.run("gkc_decoder_free", MemorySegment.NULL);
    }
  }
}
