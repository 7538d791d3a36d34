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
import java.util.stream.IntStream;

/** Copies values between Java and a tensor's memory. */
final class Values {
  private static final int PIECE = 1 << 20;

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
      narrow(floats, type == DataType.BFLOAT16, to);
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

  private static void narrow(FloatBuffer values, boolean bfloat16, MemorySegment to) {
    MemorySegment from = MemorySegment.ofBuffer(values);
    pieces(
        values.remaining(),
        (begin, end) -> {
          for (long i = begin; i < end; i++) {
            float value = from.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
            short half = bfloat16 ? bfloat16(value) : Float.floatToFloat16(value);
            to.setAtIndex(ValueLayout.JAVA_SHORT, i, half);
          }
        });
  }

  /**
   * Writes the values of a floating array into `out`, of the same number, as float32;
   * IllegalStateException for other types.
   */
  static float[] floats(MemorySegment from, DataType type, float[] out) {
    switch (type) {
      case FLOAT32 -> MemorySegment.copy(from, ValueLayout.JAVA_FLOAT, 0, out, 0, out.length);
      case BFLOAT16 ->
          pieces(
              out.length,
              (begin, end) -> {
                for (int i = begin; i < end; i++) {
                  out[i] = Float.intBitsToFloat(from.getAtIndex(ValueLayout.JAVA_SHORT, i) << 16);
                }
              });
      case FLOAT16 ->
          pieces(
              out.length,
              (begin, end) -> {
                for (int i = begin; i < end; i++) {
                  out[i] = Float.float16ToFloat(from.getAtIndex(ValueLayout.JAVA_SHORT, i));
                }
              });
      default ->
          throw new IllegalStateException(
              "float values were asked of an array of %s; convert it first".formatted(type));
    }
    return out;
  }

  /** Work on the numbers from begin to end. */
  @FunctionalInterface
  private interface Piece {
    void run(int begin, int end);
  }

  /** Large arrays are converted by all cores. */
  private static void pieces(int count, Piece piece) {
    if (count <= PIECE) {
      piece.run(0, count);
      return;
    }
    IntStream.range(0, (count + PIECE - 1) / PIECE)
        .parallel()
        .forEach(p -> piece.run(p * PIECE, Math.min(count, (p + 1) * PIECE)));
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
