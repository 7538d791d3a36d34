package io.gracebeam.worker.server.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.gracebeam.worker.engine.EngineHandle;
import java.util.Arrays;

/**
 * What a small operator costs, all in: the sum of two arrays of one number, made and closed, with
 * nothing recorded; prints the median of some runs, in microseconds.
 */
final class OperatorContestant {
  private static final int RUNS = 15;

  private OperatorContestant() {}

  /** Arguments: engine, compute type, threads, operators of a run. */
  public static void main(String[] args) {
    EngineHandle engine = Contestants.engine(args);
    int count = Integer.parseInt(args[3]);
    double[] micros = new double[RUNS];
    try (NDManager manager = engine.engine().newBaseManager(engine.device());
        NDArray x = manager.create(new float[] {1});
        NDArray y = manager.create(new float[] {2})) {
      for (int run = -RUNS; run < RUNS; run++) { // the first ones let the JVM compile
        long start = System.nanoTime();
        for (int i = 0; i < count; i++) {
          x.add(y).close();
        }
        if (run >= 0) {
          micros[run] = (System.nanoTime() - start) / 1e3 / count;
        }
      }
    }
    Arrays.sort(micros);
    System.out.println("engine " + engine.description());
    System.out.println("micros " + micros[RUNS / 2]);
  }
}
