package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;

/** Copies values between Java and a tensor's memory. */
final class Values {
  private Values() {}

  /**
   * Copies a buffer's remaining values, of the array's own type (or floats, which bfloat16 and
   * float16 arrays round to nearest even; or raw bytes).
   *
   * @throws IllegalArgumentException where type or number of values differ
   */
  static void write(MemorySegment to, DataType type, Buffer data, Shape shape) {
    if (data instanceof FloatBuffer floats
        && (type == DataType.BFLOAT16 || type == DataType.FLOAT16)) {
      requireCount(floats.remaining(), shape);
      for (int i = 0; i < floats.remaining(); i++) {
        float value = floats.get(floats.position() + i);
        to.setAtIndex(
            ValueLayout.JAVA_SHORT,
            i,
            type == DataType.BFLOAT16 ? bfloat16(value) : Float.floatToFloat16(value));
      }
      return;
    }
    boolean fits =
        switch (data) {
          case FloatBuffer f -> type == DataType.FLOAT32;
          case DoubleBuffer d -> type == DataType.FLOAT64;
          case LongBuffer l -> type == DataType.INT64 || type == DataType.UINT64;
          case IntBuffer i -> type == DataType.INT32 || type == DataType.UINT32;
          case ShortBuffer s -> type.getNumOfBytes() == 2;
          case ByteBuffer b -> true;
          default -> false;
        };
    if (!fits) {
      throw new IllegalArgumentException(
          "a %s cannot fill an array of %s".formatted(data.getClass().getSimpleName(), type));
    }
    MemorySegment from = MemorySegment.ofBuffer(data);
    if (from.byteSize() != to.byteSize()) {
      throw new IllegalArgumentException(
          "%d bytes cannot fill an array %s of %s, which has %d"
              .formatted(from.byteSize(), shape, type, to.byteSize()));
    }
    to.copyFrom(from);
  }

  private static void requireCount(int count, Shape shape) {
    if (count != shape.size()) {
      throw new IllegalArgumentException(
          "%d values cannot fill an array %s, which has %d".formatted(count, shape, shape.size()));
    }
  }

  /** The values of a floating array as float32; IllegalStateException for other types. */
  static float[] floats(MemorySegment from, DataType type, int count) {
    float[] out = new float[count];
    switch (type) {
      case FLOAT32 -> MemorySegment.copy(from, ValueLayout.JAVA_FLOAT, 0, out, 0, count);
      case BFLOAT16 -> {
        for (int i = 0; i < count; i++) {
          out[i] = Float.intBitsToFloat(from.getAtIndex(ValueLayout.JAVA_SHORT, i) << 16);
        }
      }
      case FLOAT16 -> {
        for (int i = 0; i < count; i++) {
          out[i] = Float.float16ToFloat(from.getAtIndex(ValueLayout.JAVA_SHORT, i));
        }
      }
      default ->
          throw new IllegalStateException(
              "float values were asked of an array of %s; convert it first".formatted(type));
    }
    return out;
  }

  /** Rounds to nearest even; NaN stays NaN. */
  static short bfloat16(float value) {
    int bits = Float.floatToRawIntBits(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) {
      return (short) (bits >>> 16 | 0x40);
    }
    return (short) (bits + 0x7FFF + (bits >>> 16 & 1) >>> 16);
  }
}
