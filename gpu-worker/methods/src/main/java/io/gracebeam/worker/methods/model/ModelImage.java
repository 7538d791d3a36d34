package io.gracebeam.worker.methods.model;

/**
 * An image as a vision tower takes it. Two are the same image if they are the same object.
 *
 * @param values the numbers, as {@code shape} says
 * @param shape pixels [channels, height, width], or patches [patches, numbers]
 * @param grid patches in time, rows and columns
 * @param tokens visual tokens that the decoder is given for it
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record ModelImage(PixelCache values, long[] shape, Grid grid, int tokens) {
  /** Patches in time, rows and columns. */
  public record Grid(int times, int rows, int columns) {}

  /** Number of values. */
  public int size() {
    return values.size();
  }

  @Override
  public boolean equals(Object other) {
    return this == other;
  }

  @Override
  public int hashCode() {
    return System.identityHashCode(this);
  }
}
