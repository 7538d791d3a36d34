package io.gracebeam.worker.server.bench;

import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.training.LossBench;
import java.io.IOException;

/**
 * One engine's turn at the loss part in a process of its own: prints its seconds, those of the loss
 * without the products, and the peak of resident memory above what was resident before.
 */
final class LossContestant {
  private static final int WARM_ROWS = 8;

  private LossContestant() {}

  /** Arguments: engine, compute type, threads, device, loss, rows, vocabulary, width, megabytes. */
  public static void main(String[] args) {
    Ending.run(() -> turn(args));
  }

  private static void turn(String[] args) throws IOException {
    EngineHandle engine = Contestants.engine(args);
    int rows = Integer.parseInt(args[5]);
    long bytes = Long.parseLong(args[8]) << 20;
    try (LossBench bench =
        new LossBench(
            engine,
            rows,
            Integer.parseInt(args[6]),
            Integer.parseInt(args[7]),
            LossBench.Loss.valueOf(args[4]))) {
      // Libraries are loaded and the weight's gradient is touched; that is not the pass's memory.
      bench.pass(Math.min(rows, WARM_ROWS), 1 << 20);
      ResidentPeak memory = ResidentPeak.begin();
      long start = System.nanoTime();
      double loss = bench.pass(rows, bytes);
      double seconds = (System.nanoTime() - start) / 1e9;
      long peak = memory.bytes();
      System.out.println("engine " + engine.description() + ", loss " + loss);
      System.out.println("seconds " + seconds);
      System.out.println("lossSeconds " + bench.lossSeconds());
      System.out.println("peakBytes " + peak);
    }
  }
}
