package io.gracebeam.worker.server.bench;

import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.training.TrainBench;
import java.io.IOException;

/**
 * Gradients of all examples at once, with or without gradient checkpointing: prints their seconds,
 * the peak of resident memory above what was resident before, and what native blocks always keep.
 * Wants an allocator that returns memory.
 */
final class CheckpointContestant {
  private CheckpointContestant() {}

  /** Arguments: engine, compute type, threads, device, shape, whether blocks are checkpointed. */
  public static void main(String[] args) {
    Ending.run(() -> turn(args));
  }

  private static void turn(String[] args) throws IOException {
    EngineHandle engine = Contestants.engine(args);
    TrainBench.Shape shape = TrainContestant.shape(args[4]).inMicroBatches(1);
    try (TrainBench bench =
        new TrainBench(engine, shape, true, true, Boolean.parseBoolean(args[5]))) {
      bench.accumulate(); // the leaves' gradients are made
      bench.accumulate();
      ResidentPeak memory = ResidentPeak.begin();
      long start = System.nanoTime();
      double loss = bench.accumulate();
      double seconds = (System.nanoTime() - start) / 1e9;
      long peak = memory.bytes();
      System.out.println("engine " + engine.description() + ", loss " + loss);
      System.out.println("seconds " + seconds);
      System.out.println("peakBytes " + (peak + bench.heldBytes()));
    }
  }
}
