package io.gracebeam.worker.kernels;

import static io.gracebeam.worker.kernels.NativeArrays.all;
import static io.gracebeam.worker.kernels.NativeArrays.at;
import static io.gracebeam.worker.kernels.NativeArrays.grouping;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;

/** The quantizer in C. */
final class NativeQuantizer implements QuantizerKernels {
  private final NativeSession session;
  private final MethodHandle searchScales;
  private final MethodHandle scales;
  private final MethodHandle quantize;
  private final MethodHandle fakeQuantize;

  NativeQuantizer(NativeSession session) {
    this.session = session;
    NativeLibrary library = session.library();
    this.searchScales =
        library.onHeap(
            "gk_search_scales",
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            JAVA_FLOAT,
            JAVA_FLOAT,
            ADDRESS);
    this.scales = library.onHeap("gk_scales", ADDRESS, JAVA_LONG, JAVA_FLOAT, JAVA_FLOAT, ADDRESS);
    this.quantize = library.onHeap("gk_quantize", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    this.fakeQuantize = library.onHeap("gk_fake_quantize", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
  }

  @Override
  public void searchScales(LatentWeight w, float[] out) {
    double[] ratios = new double[LogScaleQuantizer.STEPS];
    Arrays.setAll(ratios, LogScaleQuantizer::ratio);
    int group = w.spec().groupSize();
    int step = NativeArrays.rows(group);
    session.locking(
        () -> {
          for (int from = 0; from < out.length; from += step) {
            session.run(
                searchScales,
                at(w.values(), (long) from * group),
                (long) Math.min(step, out.length - from),
                (long) group,
                w.spec().bits(),
                all(ratios),
                LogScaleQuantizer.MIN_SCALE,
                LogScaleQuantizer.MAX_SCALE,
                at(out, from));
          }
        });
  }

  @Override
  public void scales(float[] theta, float[] out) {
    session.locking(
        () ->
            session.run(
                scales,
                all(theta),
                (long) theta.length,
                LogScaleQuantizer.MIN_SCALE,
                LogScaleQuantizer.MAX_SCALE,
                all(out)));
  }

  @Override
  public int[] packedCodes(LatentWeight w, float[] s) {
    int perRow = Packing.wordsPerRow(w.cols(), w.spec().bits());
    int[] words = new int[w.rows() * perRow];
    int step = NativeArrays.rows(w.cols());
    session.locking(
        () -> {
          for (int r = 0; r < w.rows(); r += step) {
            session.run(
                quantize,
                grouping(w, Math.min(step, w.rows() - r)),
                at(w.values(), (long) r * w.cols()),
                NativeArrays.scales(w, s, r),
                at(words, (long) r * perRow));
          }
        });
    return words;
  }

  @Override
  public void fakeQuantize(LatentWeight w, float[] s, float[] out) {
    int step = NativeArrays.rows(w.cols());
    session.locking(
        () -> {
          for (int r = 0; r < w.rows(); r += step) {
            MemorySegment shape = grouping(w, Math.min(step, w.rows() - r));
            long from = (long) r * w.cols();
            session.run(
                fakeQuantize,
                shape,
                at(w.values(), from),
                NativeArrays.scales(w, s, r),
                at(out, from));
          }
        });
  }
}
