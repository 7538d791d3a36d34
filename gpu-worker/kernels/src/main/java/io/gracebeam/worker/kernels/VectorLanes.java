package io.gracebeam.worker.kernels;

import java.util.concurrent.ForkJoinPool;
import java.util.function.IntConsumer;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/** What the kernels on the Vector API share. */
final class VectorLanes {
  static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;

  /**
   * Adding and taking away 1.5 * 2^23 rounds a float below 2^22 in magnitude to the nearest
   * integer, ties to even.
   */
  static final float MAGIC = 12582912f;

  private static final long WORTH = 1 << 16;

  private VectorLanes() {}

  /** Calls body(0) .. body(blocks - 1), in parallel where the work is worth it. */
  static void run(ForkJoinPool pool, long work, int blocks, IntConsumer body) {
    Parallel.run(pool, work > WORTH, blocks, body);
  }

  /** Sum of all lanes in ascending order; the Vector API leaves the order of its own open. */
  static float sum(FloatVector a, float[] lanes) {
    a.intoArray(lanes, 0);
    float sum = 0f;
    for (int l = 0; l < SPECIES.length(); l++) {
      sum += lanes[l];
    }
    return sum;
  }
}
