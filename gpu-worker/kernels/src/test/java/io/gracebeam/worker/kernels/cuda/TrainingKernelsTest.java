package io.gracebeam.worker.kernels.cuda;

import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_POINTER;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.BAD_SIZE;
import static io.gracebeam.worker.kernels.cuda.CudaLibrary.NO_SPACE;
import static io.gracebeam.worker.kernels.cuda.ProductChecks.STREAM;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.worker.kernels.GatedDkd;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Quantizer, training step and losses, emulated, against their oracles. */
class TrainingKernelsTest {
  private static QuantizerChecks quantizer(int order) {
    CudaLibrary library = Emulation.library(order);
    return new QuantizerChecks(library, new LibraryDevice(library));
  }

  private static LossChecks losses(int order) {
    CudaLibrary library = Emulation.library(order);
    return new LossChecks(library, new LibraryDevice(library));
  }

  @Property(tries = 60)
  void scalesAndCodesAreTheOracles(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 1, max = 9) int rows,
      @ForAll @IntRange(min = 1, max = 70) int group,
      @ForAll @IntRange(min = 1, max = 4) int groups,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    quantizer(order).quantize(bits, rows, group * groups, group, seed);
  }

  @Property(tries = 40)
  void trainingStepIsTheOracles(
      @ForAll @IntRange(min = 2, max = 8) int bits,
      @ForAll @IntRange(min = 1, max = 9) int rows,
      @ForAll @IntRange(min = 1, max = 70) int group,
      @ForAll @IntRange(min = 1, max = 4) int groups,
      @ForAll boolean narrow,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    quantizer(order).steps(bits, rows, group * groups, group, narrow, seed);
  }

  @Property(tries = 40)
  void teacherRowsAreTheOracles(
      @ForAll @IntRange(min = 1, max = 4) int rows,
      @ForAll @IntRange(min = 2, max = 3000) int vocab,
      @ForAll @IntRange(min = 1, max = 200) int k,
      @ForAll @DoubleRange(min = 0.5, max = 4) double temperature,
      @ForAll @DoubleRange(min = 0, max = 6) double spread,
      @ForAll boolean ties,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    losses(order).teacher(rows, vocab, Math.min(k, vocab), temperature, spread, ties, seed);
  }

  @Test
  void selectionsMayBeAllOfTheVocabularyOrAllEqual() {
    losses(0).teacher(2, 1024, 1024, 2, 3, true, 1);
    losses(1).teacher(2, 1500, 1000, 2, 0, true, 2);
    losses(2).teacher(2, 2, 1, 1, 0, true, 3);
  }

  @Property(tries = 50)
  void distillationIsTheOracles(
      @ForAll @IntRange(min = 1, max = 5) int rows,
      @ForAll @IntRange(min = 2, max = 1500) int vocab,
      @ForAll @IntRange(min = 1, max = 60) int k,
      @ForAll boolean full,
      @ForAll boolean decoupled,
      @ForAll boolean gate,
      @ForAll @DoubleRange(min = 0.5, max = 4) double temperature,
      @ForAll @DoubleRange(min = 0, max = 4) double spread,
      @ForAll boolean inPlace,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    GatedDkd.Mode mode = decoupled ? GatedDkd.Mode.DKD : GatedDkd.Mode.KD;
    GatedDkd.Options o = new GatedDkd.Options(mode, gate, temperature, 1, 4);
    int listed = full ? 0 : Math.min(k, vocab);
    losses(order).distillation(rows, vocab, listed, o, spread, inPlace, seed);
  }

  @Property(tries = 25)
  void relationalLossIsTheOracles(
      @ForAll @IntRange(min = 1, max = 70) int n,
      @ForAll @IntRange(min = 1, max = 70) int d,
      @ForAll @IntRange(min = 0, max = 9) int order,
      @ForAll long seed) {
    losses(order).relational(n, d, 5, seed);
  }

  @Test
  void numbersThatAreNotFiniteAndForeignTargetsShowInTheResults() {
    CudaLibrary library = Emulation.library();
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(new LibraryDevice(library))) {
      float[] z = {1, 2, Float.NaN, 0, 1, 2, 3, 4};
      MemorySegment logits = memory.floats(z);
      MemorySegment ids = memory.output(16);
      MemorySegment values = memory.output(16);
      MemorySegment scalars = memory.output(64);
      MemorySegment targets = memory.ints(1, 4);
      library.checked(
          "gkc_teacher_rows", logits, targets, 2, 4, 2, 1.0, ids, values, scalars, STREAM);
      double[] s = memory.readDoubles(scalars, 8);
      assertThat(s[0]).isNaN();
      assertThat(s[2]).isNaN();
      assertThat(s[4]).isFinite();
      assertThat(s[5]).isNaN(); // target 4 of 4
      assertThat(memory.readInts(ids, 4)).endsWith(3, 2);

      GatedDkd.Options o = GatedDkd.Options.grace();
      MemorySegment gradient = memory.output(32);
      MemorySegment perToken = memory.output(16);
      MemorySegment gates = memory.output(16);
      MemorySegment total = memory.output(16);
      library.checked(
          "gkc_gated_dkd",
          LossChecks.options(arena, 2, 4, 2, o),
          logits,
          targets,
          values,
          memory.ints(0, 1, 2, 7), // and id 7 of 4
          memory.doubles(new double[8]),
          gradient,
          perToken,
          gates,
          total,
          STREAM);
      assertThat(memory.readDoubles(perToken, 2)).containsOnly(Double.NaN);
      assertThat(memory.readDoubles(total, 1)[0]).isNaN();
    }
  }

  @Test
  void badArgumentsAreRefusedAndNothingWritten() {
    CudaLibrary library = Emulation.library();
    try (Arena arena = Arena.ofConfined();
        GuardedMemory memory = new GuardedMemory(new LibraryDevice(library))) {
      MemorySegment in = memory.floats(new float[64]);
      MemorySegment y = memory.ints(new int[4]);
      MemorySegment out = memory.output(256);
      MemorySegment crooked = out.asSlice(4);
      int[][] sizes = {{1, 2, 8, 4}, {9, 2, 8, 4}, {4, 0, 8, 4}, {4, 2, 8, 3}, {4, 2, 8, 0}};
      for (int[] s : sizes) {
        MemorySegment q = QuantizerChecks.quantizer(arena, s[0], s[1], s[2], s[3]);
        assertThat(library.call("gkc_scale_search", q, in, out, STREAM)).isEqualTo(BAD_SIZE);
        assertThat(library.call("gkc_quantize", q, in, in, out, out, STREAM)).isEqualTo(BAD_SIZE);
      }
      MemorySegment q = QuantizerChecks.quantizer(arena, 4, 2, 8, 4);
      assertThat(library.call("gkc_scale_search", q, in, crooked, STREAM)).isEqualTo(BAD_POINTER);
      assertThat(library.call("gkc_fake_quantize", q, MemorySegment.NULL, in, out, 0, STREAM))
          .isEqualTo(BAD_POINTER);
      for (int field = 0; field < 7; field++) {
        MemorySegment step = QuantizerChecks.step(arena, .1, .1, 1, 1, 1);
        step.setAtIndex(JAVA_DOUBLE, field, Double.NaN);
        assertThat(
                library.call(
                    "gkc_qat_step", q, step, in, out, out, out, out, out, out, out, 0, STREAM))
            .isEqualTo(BAD_SIZE);
      }
      MemorySegment early = QuantizerChecks.step(arena, .1, .1, 1, 1, 0);
      assertThat(
              library.call(
                  "gkc_qat_step", q, early, in, out, out, out, out, out, out, out, 0, STREAM))
          .isEqualTo(BAD_SIZE);
      assertThat(library.call("gkc_gradient_norm", q, in, in, in, 1.0, out, out, 64L, STREAM))
          .isEqualTo(NO_SPACE);
      Object[][] rows = {
        {0, 4, 1, 1.0},
        {1, 1, 1, 1.0},
        {1, 4, 5, 1.0},
        {1, 4, 0, 1.0},
        {1, 2000, 1025, 1.0},
        {1, 4, 1, 0.0},
        {1, 4, 1, Double.NaN}
      };
      for (Object[] r : rows) {
        assertThat(
                library.call(
                    "gkc_teacher_rows", in, y, r[0], r[1], r[2], r[3], out, out, out, STREAM))
            .isEqualTo(BAD_SIZE);
      }
      assertThat(library.call("gkc_teacher_rows", in, y, 1, 4, 1, 1.0, out, out, crooked, STREAM))
          .isEqualTo(BAD_POINTER);
      GatedDkd.Options o = GatedDkd.Options.grace();
      int[][] losses = {{0, 4, 0}, {1, 1, 0}, {1, 4, 5}, {1, 4, -1}, {1, (1 << 20) + 1, 0}};
      for (int[] l : losses) {
        MemorySegment options = LossChecks.options(arena, l[0], l[1], l[2], o);
        assertThat(
                library.call(
                    "gkc_gated_dkd", options, in, y, in, y, in, out, out, out, out, STREAM))
            .isEqualTo(BAD_SIZE);
      }
      MemorySegment listed = LossChecks.options(arena, 1, 4, 2, o);
      MemorySegment none = MemorySegment.NULL;
      assertThat(
              library.call(
                  "gkc_gated_dkd", listed, in, y, in, none, in, out, out, out, out, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(library.callLong("gkc_rcka_bytes", 0, 4)).isEqualTo(BAD_SIZE);
      long needed = library.callLong("gkc_rcka_bytes", 4, 4);
      assertThat(library.call("gkc_rcka", in, in, 4, 4, out, out, out, needed - 1, STREAM))
          .isEqualTo(NO_SPACE);
      assertThat(library.call("gkc_rcka", in, in, 4, 4, crooked, out, out, needed, STREAM))
          .isEqualTo(BAD_POINTER);
      assertThat(memory.untouched(out)).isTrue();
      assertThat(y.toArray(JAVA_INT)).containsOnly(0);
    }
  }
}
