package io.gracebeam.pipelines.photogrid;

import io.gracebeam.transforms.statistics.CounterRng;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Draws colored shapes as if they were photos: each of 12 classes (red-circle, ...) with its own
 * position, size, turn, tint, background, noise, and sometimes a bar in front. The pixels are a
 * function of seed, set, class and number alone.
 */
public final class ShapePhotos {
  private static final String[] COLORS = {"blue", "green", "red"};
  private static final String[] SHAPES = {"circle", "cross", "square", "triangle"};
  private static final double[][] RGB = {{50, 80, 215}, {45, 165, 70}, {215, 55, 50}};
  private static final int SUPERSAMPLE = 2;

  private ShapePhotos() {}

  /**
   * Draws a set.
   *
   * @param seed of the drawing
   * @param set keeps training and test photos apart, for example 0 and 1
   * @param perClass photos of each class
   * @param side width and height in pixels
   */
  public static PhotoSet draw(long seed, long set, int perClass, int side) {
    List<String> classes = new ArrayList<>();
    List<PhotoSet.Photo> photos = new ArrayList<>();
    for (int c = 0; c < COLORS.length; c++) {
      for (int s = 0; s < SHAPES.length; s++) {
        String name = COLORS[c] + "-" + SHAPES[s];
        int label = classes.size();
        classes.add(name);
        for (int i = 0; i < perClass; i++) {
          CounterRng rng = CounterRng.of(seed, set, label, i);
          String file = String.format(Locale.ROOT, "%s/%05d", name, i);
          photos.add(new PhotoSet.Photo(file, label, one(rng, c, s, side)));
        }
      }
    }
    return new PhotoSet(side, classes, photos, List.of());
  }

  private static byte[] one(CounterRng rng, int color, int shape, int side) {
    double cx = rng.nextDouble(0.36, 0.64);
    double cy = rng.nextDouble(0.36, 0.64);
    double radius = rng.nextDouble(0.17, 0.34);
    double turn = rng.nextDouble(-0.6, 0.6);
    double cos = StrictMath.cos(turn);
    double sin = StrictMath.sin(turn);
    double[] front = new double[3];
    double[] back = new double[3];
    double[] slope = new double[3];
    double gray = rng.nextDouble(60, 190);
    double fade = rng.nextDouble(0.45, 1);
    for (int k = 0; k < 3; k++) {
      front[k] = RGB[color][k] * fade + (1 - fade) * gray + rng.nextDouble(-25, 25);
      back[k] = gray + rng.nextDouble(-40, 40);
      slope[k] = rng.nextDouble(-60, 60);
    }
    double noise = rng.nextDouble(6, 26);
    boolean bar = rng.nextDouble() < 0.25;
    double barAt = rng.nextDouble(0.25, 0.75);
    double barGray = rng.nextDouble(30, 220);
    boolean upright = rng.nextDouble() < 0.5;
    byte[] rgb = new byte[side * side * 3];
    int n = SUPERSAMPLE * SUPERSAMPLE;
    for (int y = 0; y < side; y++) {
      for (int x = 0; x < side; x++) {
        int hits = 0;
        for (int i = 0; i < n; i++) {
          double px = (x + (i % SUPERSAMPLE + 0.5) / SUPERSAMPLE) / side - cx;
          double py = (y + (i / SUPERSAMPLE + 0.5) / SUPERSAMPLE) / side - cy;
          hits += inside(shape, (px * cos + py * sin) / radius, (py * cos - px * sin) / radius);
        }
        double cover = hits / (double) n;
        double along = upright ? (x + 0.5) / side : (y + 0.5) / side;
        boolean hidden = bar && Math.abs(along - barAt) < 0.05;
        for (int k = 0; k < 3; k++) {
          double ground = back[k] + slope[k] * ((x + y) / (2.0 * side) - 0.5);
          double value = hidden ? barGray : cover * front[k] + (1 - cover) * ground;
          value += noise * rng.nextNormal();
          rgb[(y * side + x) * 3 + k] = (byte) Math.max(0, Math.min(255, Math.rint(value)));
        }
      }
    }
    return rgb;
  }

  /** 1 where the point (in units of the radius) is in the shape. */
  private static int inside(int shape, double u, double v) {
    boolean in =
        switch (shape) {
          case 0 -> u * u + v * v <= 1;
          case 1 ->
              (Math.abs(u) <= 0.33 && Math.abs(v) <= 1)
                  || (Math.abs(v) <= 0.33 && Math.abs(u) <= 1);
          case 2 -> Math.abs(u) <= 0.85 && Math.abs(v) <= 0.85;
          default -> v <= 0.8 && v >= -1 && Math.abs(u) <= (v + 1) / 1.8;
        };
    return in ? 1 : 0;
  }
}
