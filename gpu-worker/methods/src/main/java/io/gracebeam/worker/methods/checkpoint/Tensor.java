package io.gracebeam.worker.methods.checkpoint;

import io.gracebeam.proto.error.GraceException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A tensor in memory.
 *
 * @param shape row-major shape; empty for a scalar
 * @param dtype element type
 * @param data little-endian elements from position 0 to the limit; shared, not to be written
 */
public record Tensor(long[] shape, DType dtype, ByteBuffer data) {
  /** A float32 tensor holding a copy of the values. */
  public static Tensor of(long[] shape, float[] values) {
    ByteBuffer data =
        ByteBuffer.allocate(Math.multiplyExact(values.length, Float.BYTES))
            .order(ByteOrder.LITTLE_ENDIAN);
    data.asFloatBuffer().put(values);
    return new Tensor(shape, DType.F32, data);
  }

  /** An int32 tensor holding a copy of the values. */
  public static Tensor of(long[] shape, int[] values) {
    ByteBuffer data =
        ByteBuffer.allocate(Math.multiplyExact(values.length, Integer.BYTES))
            .order(ByteOrder.LITTLE_ENDIAN);
    data.asIntBuffer().put(values);
    return new Tensor(shape, DType.I32, data);
  }

  /** An int64 tensor holding a copy of the values. */
  public static Tensor of(long[] shape, long[] values) {
    ByteBuffer data =
        ByteBuffer.allocate(Math.multiplyExact(values.length, Long.BYTES))
            .order(ByteOrder.LITTLE_ENDIAN);
    data.asLongBuffer().put(values);
    return new Tensor(shape, DType.I64, data);
  }

  /** Number of elements. */
  public int size() {
    return data.limit() / dtype.bytes();
  }

  /** The values as float32; float64 is rounded, integers are refused. */
  public float[] floats() {
    ByteBuffer in = data.duplicate().order(ByteOrder.LITTLE_ENDIAN).rewind();
    float[] out = new float[size()];
    switch (dtype) {
      case F32 -> in.asFloatBuffer().get(out);
      case F16 -> {
        for (int i = 0; i < out.length; i++) {
          out[i] = Float.float16ToFloat(in.getShort(2 * i));
        }
      }
      case BF16 -> {
        for (int i = 0; i < out.length; i++) {
          out[i] = Float.intBitsToFloat(in.getShort(2 * i) << 16);
        }
      }
      case F64 -> {
        for (int i = 0; i < out.length; i++) {
          out[i] = (float) in.getDouble(8 * i);
        }
      }
      default -> throw GraceException.bug("a %s tensor was asked for floats", dtype);
    }
    return out;
  }

  /** The values of an int32 tensor. */
  public int[] ints() {
    if (dtype != DType.I32) {
      throw GraceException.bug("a %s tensor was asked for ints", dtype);
    }
    int[] out = new int[size()];
    data.duplicate().order(ByteOrder.LITTLE_ENDIAN).rewind().asIntBuffer().get(out);
    return out;
  }

  /** The values of an int64 tensor. */
  public long[] longs() {
    if (dtype != DType.I64) {
      throw GraceException.bug("a %s tensor was asked for longs", dtype);
    }
    long[] out = new long[size()];
    data.duplicate().order(ByteOrder.LITTLE_ENDIAN).rewind().asLongBuffer().get(out);
    return out;
  }
}
