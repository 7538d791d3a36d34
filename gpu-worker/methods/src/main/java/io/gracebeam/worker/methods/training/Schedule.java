package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.v1.Training;

/**
 * Learning rate: linear warm-up, then cosine decay to zero (Loshchilov and Hutter, arXiv
 * 1608.03983).
 */
final class Schedule {
  private Schedule() {}

  /** Rate of a step; {@code step} counts from 0 to {@code total} - 1. */
  static double rate(Training t, long step, long total) {
    long warmup = Math.round(t.getWarmupFraction() * total);
    if (step < warmup) {
      return t.getLearningRate() * (step + 1) / warmup;
    }
    double x = total == warmup ? 0 : (double) (step - warmup) / (total - warmup);
    return t.getLearningRate() * 0.5 * (1 + StrictMath.cos(Math.PI * x));
  }
}
