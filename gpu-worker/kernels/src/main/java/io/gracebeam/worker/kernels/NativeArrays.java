package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * Arrays of the heap as arguments of functions in C. The garbage collector waits for such a call,
 * so large work is split into calls of some milliseconds.
 */
final class NativeArrays {
  /** Numbers of one call. */
  static final int PIECE = 1 << 23;

  private NativeArrays() {}

  /** Rows of that width in one call. */
  static int rows(int width) {
    return Math.max(1, PIECE / width);
  }

  static MemorySegment all(float[] a) {
    return MemorySegment.ofArray(a);
  }

  static MemorySegment all(double[] a) {
    return MemorySegment.ofArray(a);
  }

  /** The numbers from that index on. */
  static MemorySegment at(float[] a, long index) {
    return MemorySegment.ofArray(a).asSlice(Float.BYTES * index);
  }

  /** The numbers from that index on. */
  static MemorySegment at(double[] a, long index) {
    return MemorySegment.ofArray(a).asSlice(Double.BYTES * index);
  }

  /** The numbers from that index on. */
  static MemorySegment at(int[] a, long index) {
    return MemorySegment.ofArray(a).asSlice(Integer.BYTES * index);
  }

  /** A gk_grouping of some of a weight's rows. */
  static MemorySegment grouping(LatentWeight w, int rows) {
    QuantSpec spec = w.spec();
    return MemorySegment.ofArray(
        new int[] {spec.bits(), rows, w.cols(), spec.segment(w.cols()), spec.perTensor() ? 1 : 0});
  }

  /** A weight's scales from that row on. */
  static MemorySegment scales(LatentWeight w, float[] scales, int row) {
    QuantSpec spec = w.spec();
    return at(scales, spec.perTensor() ? 0 : (long) row * (w.cols() / spec.groupSize()));
  }
}
