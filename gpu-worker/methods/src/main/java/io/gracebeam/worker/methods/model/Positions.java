package io.gracebeam.worker.methods.model;

import java.util.Arrays;

/**
 * Positions of the tokens of a batch.
 *
 * @param axes [A][B or 1][S]: one axis, or three (time, row, column); one row serves all examples
 * @param counting whether they are 0, 1, 2, ... on one axis for all examples
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record Positions(int[][][] axes, boolean counting) {
  /** 0, 1, 2, ... for all examples. */
  public static Positions counting(int length) {
    int[] row = new int[length];
    Arrays.setAll(row, i -> i);
    return new Positions(new int[][][] {{row}}, true);
  }

  /** One position for each example, the same on all axes. */
  static Positions single(int[] each) {
    int[][] rows = Arrays.stream(each).mapToObj(p -> new int[] {p}).toArray(int[][]::new);
    return new Positions(new int[][][] {rows}, false);
  }

  /** Rows that differ: 1 or the number of examples. */
  int rows() {
    return axes[0].length;
  }

  /** Tokens of a row. */
  int length() {
    return axes[0][0].length;
  }

  /** A position; an axis that is not there is the first. */
  int at(int axis, int example, int token) {
    int[][] rows = axes[axis < axes.length ? axis : 0];
    return rows[example < rows.length ? example : 0][token];
  }
}
