package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Where an optimizer's step writes the values that the model computes with, beside the float32
 * weights that it keeps.
 *
 * @param memory row-major numbers, on the heap or in native memory
 * @param half whether they are raw bfloat16, nearest with ties to even; else float32
 */
public record WeightCopy(MemorySegment memory, boolean half) {
  /** Float32 numbers on the heap. */
  public static WeightCopy of(float[] values) {
    return new WeightCopy(MemorySegment.ofArray(values), false);
  }

  private int numberBytes() {
    return half ? Short.BYTES : Float.BYTES;
  }

  void check(String where, int numbers) {
    long bytes = (long) numbers * numberBytes();
    if (memory.byteSize() != bytes) {
      throw Checks.error(
          where, "the copy holds %d bytes, allowed is exactly %d", memory.byteSize(), bytes);
    }
  }

  /** The numbers from that index on. */
  MemorySegment from(long index) {
    return memory.asSlice(index * numberBytes());
  }

  void set(int index, float value) {
    if (half) {
      memory.setAtIndex(ValueLayout.JAVA_SHORT, index, Bf16.fromFloat(value));
    } else {
      memory.setAtIndex(ValueLayout.JAVA_FLOAT, index, value);
    }
  }
}
