package io.gracebeam.pipelines.photogrid;

import io.gracebeam.transforms.statistics.CounterRng;
import java.util.List;

/** One grid: which photos are where, and its pixels. */
@SuppressWarnings("ArrayRecordComponent")
record Grid(int size, int[] labels, boolean[] blurred, byte[] rgb, int side) {
  private static final int CROP = 4;
  private static final int BLUR = 4;
  private static final String[][] PLACES = {
    {"top left", "top right", "bottom left", "bottom right"},
    {
      "top left", "top center", "top right",
      "middle left", "center", "middle right",
      "bottom left", "bottom center", "bottom right"
    }
  };

  /** The name of a cell's place. */
  String place(int cell) {
    return PLACES[size - 2][cell];
  }

  int cells() {
    return size * size;
  }

  int count(int label) {
    int n = 0;
    for (int l : labels) {
      n += l == label ? 1 : 0;
    }
    return n;
  }

  /** Draws size x size photos; {@code augment} shifts each by up to 4 pixels and flips half. */
  static Grid draw(
      PhotoSet set, List<int[]> byClass, int size, boolean augment, double blur, CounterRng rng) {
    int cell = set.side();
    int side = cell * size;
    byte[] rgb = new byte[side * side * 3];
    int[] labels = new int[size * size];
    boolean[] blurred = new boolean[size * size];
    for (int i = 0; i < labels.length; i++) {
      labels[i] = rng.nextInt(byClass.size());
      int[] photos = byClass.get(labels[i]);
      byte[] photo = set.photos().get(photos[rng.nextInt(photos.length)]).rgb();
      int dx = augment ? rng.nextInt(2 * CROP + 1) - CROP : 0;
      int dy = augment ? rng.nextInt(2 * CROP + 1) - CROP : 0;
      boolean flip = augment && rng.nextInt(2) == 1;
      blurred[i] = rng.nextDouble() < blur;
      byte[] shown = shift(photo, cell, dx, dy, flip);
      if (blurred[i]) {
        blur(shown, cell);
      }
      for (int y = 0; y < cell; y++) {
        int to = (((i / size) * cell + y) * side + (i % size) * cell) * 3;
        System.arraycopy(shown, y * cell * 3, rgb, to, cell * 3);
      }
    }
    return new Grid(size, labels, blurred, rgb, side);
  }

  /** Shifts, repeating the mirrored edge, and flips left to right. */
  private static byte[] shift(byte[] photo, int side, int dx, int dy, boolean flip) {
    byte[] out = new byte[photo.length];
    for (int y = 0; y < side; y++) {
      int sy = mirror(y + dy, side);
      for (int x = 0; x < side; x++) {
        int sx = mirror((flip ? side - 1 - x : x) + dx, side);
        System.arraycopy(photo, (sy * side + sx) * 3, out, (y * side + x) * 3, 3);
      }
    }
    return out;
  }

  private static int mirror(int at, int side) {
    int m = at < 0 ? -at - 1 : at >= side ? 2 * side - 1 - at : at;
    return Math.max(0, Math.min(side - 1, m));
  }

  /** Replaces each block of 4 x 4 pixels by its mean. */
  private static void blur(byte[] rgb, int side) {
    for (int by = 0; by < side; by += BLUR) {
      for (int bx = 0; bx < side; bx += BLUR) {
        int h = Math.min(BLUR, side - by);
        int w = Math.min(BLUR, side - bx);
        for (int k = 0; k < 3; k++) {
          int sum = 0;
          for (int i = 0; i < h * w; i++) {
            sum += rgb[((by + i / w) * side + bx + i % w) * 3 + k] & 255;
          }
          for (int i = 0; i < h * w; i++) {
            rgb[((by + i / w) * side + bx + i % w) * 3 + k] = (byte) ((sum + h * w / 2) / (h * w));
          }
        }
      }
    }
  }
}
