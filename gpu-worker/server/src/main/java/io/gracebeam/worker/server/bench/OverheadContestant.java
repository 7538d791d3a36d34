package io.gracebeam.worker.server.bench;

import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.training.TrainBench;
import java.util.Arrays;

/**
 * What quantization adds to a training step of one engine: steps with and without it take turns in
 * one process, so that both see the same machine; prints the median of the pairs' ratios.
 */
final class OverheadContestant {
  static final int MICRO_BATCHES = 4;

  private static final int WARM_UP = 2;
  private static final double WARM_SECONDS = 10; // so long the JVM compiles

  private OverheadContestant() {}

  /** Arguments: engine, compute type, threads, device, shape, pairs of steps. */
  public static void main(String[] args) {
    Ending.run(() -> turn(args));
  }

  private static void turn(String[] args) {
    EngineHandle engine = Contestants.engine(args);
    TrainBench.Shape shape = TrainContestant.shape(args[4]).inMicroBatches(MICRO_BATCHES);
    double[] ratios = new double[Integer.parseInt(args[5])];
    double[][] seconds = new double[2][ratios.length];
    try (TrainBench with = new TrainBench(engine, shape, true, true);
        TrainBench without = new TrainBench(engine, shape, false, true)) {
      long begin = System.nanoTime();
      for (int i = 0; i < WARM_UP || (System.nanoTime() - begin) / 1e9 < WARM_SECONDS; i++) {
        with.step();
        without.step();
      }
      for (int i = 0; i < ratios.length; i++) {
        // Whichever comes second finds the other's traces in caches and heap: in turns.
        int first = i % 2;
        seconds[first][i] = seconds(first == 0 ? with : without);
        seconds[1 - first][i] = seconds(first == 0 ? without : with);
        ratios[i] = seconds[0][i] / seconds[1][i];
      }
    }
    System.out.println("engine " + engine.description());
    System.out.println("seconds " + median(seconds[0]));
    System.out.println("without " + median(seconds[1]));
    System.out.println("ratio " + median(ratios));
  }

  private static double seconds(TrainBench bench) {
    long start = System.nanoTime();
    bench.step();
    return (System.nanoTime() - start) / 1e9;
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }
}
