package io.gracebeam.worker.methods.model;

/**
 * Frequencies of rotary positions (RoFormer). Positions may have several axes (time, row, column);
 * each frequency turns with one of them.
 *
 * @param inverse angle per position, for each frequency
 * @param axes the axis of each frequency
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record Rope(float[] inverse, int[] axes) {
  /** theta^(-2 i / dim) for i below dim / 2, all with the first axis. */
  public static Rope of(int dim, double theta) {
    float[] inverse = new float[dim / 2];
    for (int i = 0; i < inverse.length; i++) {
      inverse[i] = (float) (1.0 / Math.pow(theta, 2.0 * i / dim));
    }
    return new Rope(inverse, new int[dim / 2]);
  }

  /** Angle of a frequency, at position {@code at} of a sequence. */
  float angle(Positions positions, int example, int at, int frequency) {
    return positions.at(axes[frequency], example, at) * inverse[frequency];
  }
}
