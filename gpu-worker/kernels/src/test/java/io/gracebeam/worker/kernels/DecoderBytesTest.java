package io.gracebeam.worker.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.abort;

import java.util.ArrayList;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Bytes that are told beforehand are those that the library in C takes. */
class DecoderBytesTest {
  private static NativeLibrary library() {
    try {
      return NativeLibrary.load();
    } catch (UnsupportedOperationException e) {
      return abort("without native kernels: " + e.getMessage());
    }
  }

  @Property(tries = 500)
  void weightsTakeWhatTheLibrarySays(
      @ForAll @IntRange(min = 1, max = 9) int form,
      @ForAll @IntRange(min = 1, max = 100) int rows,
      @ForAll @IntRange(min = 1, max = 40) int groups,
      @ForAll @IntRange(min = 1, max = 300) int group,
      @ForAll boolean wide,
      @ForAll boolean zeros) {
    NativeLibrary library = library();
    int bits = form == 1 ? 16 : form == 9 ? 32 : form;
    int cols = groups * group;
    boolean dense = bits >= 16;
    int flags = dense ? 0 : (wide ? NativeLibrary.WIDE : 0) | (zeros ? NativeLibrary.ZEROS : 0);
    long expected = library.weightBytes(bits, rows, cols, dense ? cols : group, flags);
    assertThat(DecoderBytes.weight(rows, cols, new DecoderBytes.Form(bits, group, wide, zeros)))
        .isEqualTo(expected);
    if (!dense) {
      assertThat(DecoderBytes.weight(rows, cols, new DecoderBytes.Form(bits, -1, wide, zeros)))
          .isEqualTo(library.weightBytes(bits, rows, cols, cols, flags));
    }
  }

  @Property(tries = 60)
  void decodersTakeWhatTheyReserve(
      @ForAll @IntRange(min = 1, max = 3) int kvHeads,
      @ForAll @IntRange(min = 1, max = 20) int halfDim,
      @ForAll @IntRange(min = 1, max = 30) int mlp,
      @ForAll @IntRange(min = 1, max = 50) int vocab,
      @ForAll @IntRange(min = 1, max = 3) int slots,
      @ForAll @IntRange(min = 1, max = 70) int positions,
      @ForAll @IntRange(min = 1, max = 40) int rows,
      @ForAll boolean smallCache,
      @ForAll boolean smallHead) {
    NativeLibrary library = library();
    DecoderShape shape =
        new DecoderShape(2, 24, 2 * kvHeads, kvHeads, 2 * halfDim, 8 * mlp, vocab, 1e-5f);
    int headBits = smallHead ? 8 : 16;
    try (NativeKernels kernels =
            new NativeKernels(library, library.bestIsa(), 2, new ScalarProducts());
        PackedDecoder decoder = new PackedDecoder(kernels, weights(shape, headBits));
        PackedDecoder.Session session =
            decoder.open(new PackedDecoder.Limits(slots, positions, rows, smallCache ? 8 : 16))) {
      PackedDecoder.Limits limits =
          new PackedDecoder.Limits(slots, positions, rows, smallCache ? 8 : 16);
      // Random weights have bfloat16 scales; queries and outputs may have widths of any even
      // number.
      DecoderBytes.Form layers = new DecoderBytes.Form(4, 2, false, false);
      DecoderBytes.Form head =
          new DecoderBytes.Form(headBits, headBits == 8 ? 2 : -1, false, false);
      assertThat(DecoderBytes.weights(shape, layers, head)).isEqualTo(decoder.weightBytes());
      assertThat(
              DecoderBytes.cache(shape, limits)
                  + DecoderBytes.scratch(shape, limits, layers, head, 2))
          .isEqualTo(session.bytes());
    }
  }

  private static DecoderWeights weights(DecoderShape s, int headBits) {
    List<DecoderWeights.Layer> layers = new ArrayList<>();
    for (int i = 0; i < s.layers(); i++) {
      layers.add(
          new DecoderWeights.Layer(
              new float[s.width()],
              new RandomWeight(4, s.qkv(), s.width(), 2, 1),
              null,
              new RandomWeight(4, s.width(), s.heads() * s.headDim(), 2, 2),
              new float[s.width()],
              new RandomWeight(4, 2 * s.mlp(), s.width(), 2, 3),
              new RandomWeight(4, s.width(), s.mlp(), 2, 4)));
    }
    int group = headBits == 8 ? 2 : s.width();
    return new DecoderWeights(
        s,
        layers,
        new float[s.width()],
        new RandomWeight(headBits, s.vocab(), s.width(), group, 5));
  }

  @Test
  void formsThatCannotBeAreRefused() {
    assertThatThrownBy(() -> new DecoderBytes.Form(9, 8, true, false))
        .hasMessageContaining("bits is 9");
    assertThatThrownBy(() -> new DecoderBytes.Form(4, 0, true, false))
        .hasMessageContaining("group is 0");
    assertThatThrownBy(() -> DecoderBytes.weight(4, 10, new DecoderBytes.Form(4, 4, true, false)))
        .hasMessageContaining("divisors of cols = 10");
    assertThatThrownBy(() -> DecoderBytes.weight(0, 8, new DecoderBytes.Form(4, 4, true, false)))
        .hasMessageContaining("rows is 0");
  }
}
