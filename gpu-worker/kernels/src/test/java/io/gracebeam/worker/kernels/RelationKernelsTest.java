package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Similarities, relational loss and dense products in C against those in Java. */
class RelationKernelsTest {
  private static final ProductKernels SCALAR = new ScalarProducts();

  @Property(tries = 60)
  void relationsAreTheOracles(
      @ForAll @IntRange(min = 1, max = 60) int n,
      @ForAll @IntRange(min = 1, max = 130) int width,
      @ForAll boolean flat,
      @ForAll long seed) {
    Random random = new Random(seed);
    float[] v = LossKernelsTest.logits(random, n * width, 2);
    if (flat) {
      Arrays.fill(v, 1f);
    }
    Arrays.fill(v, 0, width, 0f);
    float[] gram = Rcka.gram(SCALAR, v, n, width);
    float[] found = NativeTwins.same(k -> k.losses().gram(v, n, width));
    // Products of unit rows: width roundings of sums below 1; centering adds at most four of them.
    double e = 4 * (width + 3) * LossKernelsTest.ULP;
    for (int i = 0; i < gram.length; i++) {
      assertThat((double) found[i]).isCloseTo(gram[i], within(e));
      assertThat(found[i]).isEqualTo(found[i % n * n + i / n]);
    }
    float[] teacher = Rcka.gram(SCALAR, LossKernelsTest.logits(random, n * width, 1), n, width);
    Rcka.Result a = Rcka.apply(SCALAR, teacher, v, n, width, Rcka.MEMORY);
    Object[] b =
        NativeTwins.same(
            k -> {
              Rcka.Result r = k.losses().rcka(teacher, v, n, width, Rcka.MEMORY);
              return new Object[] {r.cka(), r.loss(), r.skipped(), r.dV()};
            });
    double squares = 0;
    for (float x : gram) {
      squares += (double) x * x;
    }
    if (Math.abs(squares - Rcka.MIN_SQUARES) < n * n * e * e) {
      return; // either answer is right
    }
    assertThat(b[2]).isEqualTo(a.skipped());
    if (a.skipped()) {
      assertThat((float[]) b[3]).containsOnly(0f);
      return;
    }
    // Relative error of the centered matrix; CKA and its gradient, 2 / |b| at most, have a few
    // times
    // that.
    double relative = n * e / Math.sqrt(squares);
    assertThat((double) b[0]).isCloseTo(a.cka(), within(2 * relative + 1e-12));
    for (int i = 0; i < n; i++) {
      double norm = 0;
      for (int j = 0; j < width; j++) {
        norm += (double) v[i * width + j] * v[i * width + j];
      }
      double bound =
          (8 * relative + 2 * (n + 4) * LossKernelsTest.ULP)
              * 2
              / Math.sqrt(squares)
              / Math.sqrt(norm);
      for (int j = 0; j < width; j++) {
        assertThat((double) ((float[]) b[3])[i * width + j])
            .isCloseTo(a.dV()[i * width + j], within(norm == 0 ? 0 : bound));
      }
    }
  }

  @Property(tries = 40)
  void noBitDependsOnTheMemory(
      @ForAll @IntRange(min = 4, max = 90) int n,
      @ForAll @IntRange(min = 1, max = 130) int width,
      @ForAll @DoubleRange(min = 0, max = 1) double share,
      @ForAll long seed) {
    Random random = new Random(seed);
    float[] v = LossKernelsTest.logits(random, n * width, 2);
    Arrays.fill(v, 0, width, 0f);
    // As it is after it was rounded for storage, and not symmetric, which no one promises.
    float[] teacher = LossKernelsTest.logits(random, n * n, 1);
    for (NativeKernels k : NativeTwins.all()) {
      float[] gram = k.losses().gram(v, n, width, Rcka.MEMORY);
      Rcka.Result whole = k.losses().rcka(teacher, v, n, width, Rcka.MEMORY);
      long bytes = (long) (share * 4 * Float.BYTES * (n + width) * n);
      for (long bound : new long[] {0, bytes}) {
        assertThat(k.losses().gram(v, n, width, bound)).as(k.describe()).isEqualTo(gram);
        Rcka.Result part = k.losses().rcka(teacher, v, n, width, bound);
        assertThat(part.cka()).isEqualTo(whole.cka());
        assertThat(part.dV()).as(k.describe()).isEqualTo(whole.dV());
      }
    }
    Rcka.Result whole = Rcka.apply(SCALAR, teacher, v, n, width, Rcka.MEMORY);
    for (int rows : new int[] {1, 3, n - 1}) {
      Rcka.Result part = Rcka.apply(SCALAR, teacher, v, n, width, 2L * Float.BYTES * n * rows);
      assertThat(part.cka()).isEqualTo(whole.cka());
      assertThat(part.dV()).isEqualTo(whole.dV());
    }
  }

  /** Image tokens of LLaVA-1.5, of large tiles, and of nobody yet, at a 7B decoder's width. */
  @Test
  void scratchSpaceStaysWithinTheBound() {
    NativeKernels kernels = NativeTwins.all().getFirst();
    for (int n : new int[] {4, 576, 1024, 4096, 16384}) {
      for (long mb : new long[] {16, 64, 256, 1024}) {
        assertThat(kernels.losses().scratchBytes(n, 4096, mb << 20))
            .as("%d tokens", n)
            .isLessThanOrEqualTo(mb << 20);
      }
      // 16 rows of packed tokens or features, a few rows, and a few numbers for each token.
      assertThat(kernels.losses().scratchBytes(n, 4096, 0))
          .isLessThanOrEqualTo(Float.BYTES * (24L * Math.max(n, 4096) + 13L * n) + 1024);
    }
    assertThat(kernels.losses().scratchBytes(576, 4096, 1 << 30)).isLessThan(40 << 20);
  }

  @Test
  void nothingIsWrittenBehindTheScratchSpace() {
    MethodHandle rcka =
        NativeLibrary.load()
            .onHeap(
                "gk_rcka",
                ADDRESS,
                ADDRESS,
                JAVA_INT,
                JAVA_INT,
                JAVA_INT,
                JAVA_DOUBLE,
                ADDRESS,
                ADDRESS,
                ADDRESS,
                JAVA_LONG);
    int n = 45;
    int d = 37;
    Random random = new Random(3);
    float[] v = LossKernelsTest.logits(random, n * d, 1);
    float[] gram = Rcka.gram(SCALAR, v, n, d);
    float[] dv = new float[n * d];
    double[] cka = new double[1];
    NativeKernels kernels = NativeTwins.all().getFirst();
    long least = kernels.losses().scratchBytes(n, d, 0);
    long most = kernels.losses().scratchBytes(n, d, Long.MAX_VALUE);
    for (long bytes = least - 64; bytes <= most; bytes += 64) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment space = arena.allocate(bytes + 4096, 64);
        space.fill((byte) 0x55);
        int code =
            QuantizerKernelsTest.code(
                rcka,
                0,
                MemorySegment.ofArray(gram),
                MemorySegment.ofArray(v),
                n,
                d,
                Rcka.MIN_TOKENS,
                Rcka.MIN_SQUARES,
                MemorySegment.ofArray(cka),
                MemorySegment.ofArray(dv),
                space,
                bytes);
        assertThat(code).isEqualTo(bytes < least ? -4 : 0);
        assertThat(space.asSlice(bytes).toArray(JAVA_BYTE)).containsOnly((byte) 0x55);
      }
    }
    assertThat(cka[0]).isCloseTo(1, within(1e-6));
  }

  @Test
  void denseProductsAreTheSameOnEveryInstructionSet() {
    Random random = new Random(5);
    float[] x = LossKernelsTest.logits(random, 7 * 65, 1);
    float[] w = LossKernelsTest.logits(random, 19 * 65 + 3, 1);
    float[] expected = new float[7 * 19];
    SCALAR.dense(x, 7, w, 19, 65, expected);
    float[] found =
        NativeTwins.same(
            k -> {
              float[] y = QuantizerKernelsTest.poison(7 * 19);
              k.products().dense(x, 7, w, 19, 65, y);
              return y;
            });
    for (int i = 0; i < found.length; i++) {
      assertThat(found[i]).isCloseTo(expected[i], within(65 * 65 * 1e-7f));
    }
  }

  @Test
  void everyWrongArgumentHasItsCode() {
    NativeTwins.all();
    MethodHandle gram =
        NativeLibrary.load()
            .onHeap("gk_gram", ADDRESS, JAVA_INT, JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG);
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment z = arena.allocateFrom(JAVA_FLOAT, 1, 2, 3, 4);
      MemorySegment out = arena.allocateFrom(JAVA_FLOAT, 7, 7, 7, 7);
      MemorySegment none = MemorySegment.NULL;
      MemorySegment space = arena.allocate(1 << 16, 64);
      MemorySegment odd = space.asSlice(4);
      long bytes = space.byteSize();
      assertThat(QuantizerKernelsTest.code(gram, 0, z, 0, 2, out, space, bytes)).isEqualTo(-1);
      assertThat(QuantizerKernelsTest.code(gram, 0, z, 2, -2, out, space, bytes)).isEqualTo(-1);
      assertThat(QuantizerKernelsTest.code(gram, 0, none, 2, 2, out, space, bytes)).isEqualTo(-2);
      assertThat(QuantizerKernelsTest.code(gram, 0, z, 2, 2, out, odd, bytes - 4)).isEqualTo(-2);
      assertThat(QuantizerKernelsTest.code(gram, 0, z, 2, 2, out, space, 64L)).isEqualTo(-4);
      assertThat(out.toArray(JAVA_FLOAT)).containsOnly(7f);
    }
  }
}
