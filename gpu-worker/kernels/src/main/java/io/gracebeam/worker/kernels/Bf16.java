package io.gracebeam.worker.kernels;

/**
 * Conversion between float32 and bfloat16 (upper 16 bits of a float32), rounding to nearest, ties
 * to even.
 */
public final class Bf16 {
  private Bf16() {}

  /**
   * Nearest bfloat16 as raw bits; NaN stays a quiet NaN, values beyond the range become infinite.
   */
  public static short fromFloat(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }

  /** Exact float32 value of raw bfloat16 bits. */
  public static float toFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** The value rounded to bfloat16 precision. */
  public static float round(float value) {
    return toFloat(fromFloat(value));
  }

  /** Element-wise {@link #fromFloat(float)}. */
  public static short[] fromFloats(float[] values) {
    short[] out = new short[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = fromFloat(values[i]);
    }
    return out;
  }

  /** Element-wise {@link #toFloat(short)}. */
  public static float[] toFloats(short[] bits) {
    float[] out = new float[bits.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = toFloat(bits[i]);
    }
    return out;
  }
}
