package io.gracebeam.worker.methods.model;

import java.util.Arrays;

/**
 * Pixels as byte codes into a table of the distinct values per channel: an 8-bit image has at most
 * 256 of them. Exact; an image with more distinct values is kept as floats.
 */
public final class PixelCache {
  private final float[] plain;
  private final byte[] codes;
  private final float[][] tables;

  private PixelCache(float[] plain, byte[] codes, float[][] tables) {
    this.plain = plain;
    this.codes = codes;
    this.tables = tables;
  }

  /** Keeps values in three equal channels, one behind the other. */
  public static PixelCache of(float[] values) {
    if (values.length % 3 != 0) {
      return new PixelCache(values.clone(), null, null);
    }
    int channel = values.length / 3;
    byte[] codes = new byte[values.length];
    float[][] tables = new float[3][];
    for (int c = 0; c < 3; c++) {
      float[] sorted = Arrays.copyOfRange(values, c * channel, (c + 1) * channel);
      Arrays.sort(sorted);
      int n = 0;
      for (int i = 0; i < sorted.length; i++) {
        if (i == 0 || sorted[i] != sorted[n - 1]) {
          sorted[n++] = sorted[i];
        }
      }
      if (n > 256) {
        return new PixelCache(values.clone(), null, null);
      }
      tables[c] = Arrays.copyOf(sorted, n);
      for (int i = c * channel; i < (c + 1) * channel; i++) {
        codes[i] = (byte) Arrays.binarySearch(tables[c], values[i]);
      }
    }
    return new PixelCache(null, codes, tables);
  }

  /** Number of values. */
  public int size() {
    return plain != null ? plain.length : codes.length;
  }

  /** Writes the pixels to {@code out} from {@code at} on. */
  public void into(float[] out, int at) {
    if (plain != null) {
      System.arraycopy(plain, 0, out, at, plain.length);
      return;
    }
    int channel = codes.length / 3;
    for (int i = 0; i < codes.length; i++) {
      out[at + i] = tables[i / channel][codes[i] & 0xFF];
    }
  }
}
