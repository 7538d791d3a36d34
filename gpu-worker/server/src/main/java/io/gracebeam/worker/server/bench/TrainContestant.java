package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.training.TrainBench;
import java.util.Arrays;

/**
 * One engine's turn in a process of its own, since two libtorch builds cannot share one: prints the
 * median seconds of a training step.
 */
final class TrainContestant {
  private static final int WARM_UP = 2;
  private static final double WARM_SECONDS = 10; // so long the JVM compiles

  private TrainContestant() {}

  /** Arguments: engine, compute type, threads, device, shape, quantized, distilled, steps. */
  public static void main(String[] args) {
    Ending.run(() -> turn(args));
  }

  private static void turn(String[] args) {
    EngineHandle engine = Contestants.engine(args);
    double[] seconds = new double[Integer.parseInt(args[7])];
    try (TrainBench bench =
        new TrainBench(
            engine, shape(args[4]), Boolean.parseBoolean(args[5]), Boolean.parseBoolean(args[6]))) {
      long begin = System.nanoTime();
      for (int i = 0; i < WARM_UP || (System.nanoTime() - begin) / 1e9 < WARM_SECONDS; i++) {
        bench.step();
      }
      double loss = 0;
      for (int i = 0; i < seconds.length; i++) {
        long start = System.nanoTime();
        loss = bench.step();
        seconds[i] = (System.nanoTime() - start) / 1e9;
      }
      Arrays.sort(seconds);
      System.out.println("engine " + engine.description() + ", loss " + loss);
      System.out.println("seconds " + seconds[seconds.length / 2]);
    }
  }

  static TrainBench.Shape shape(String name) {
    return switch (name) {
      case "student" -> TrainBench.student();
      case "qwen2-vl-2b" -> TrainBench.qwen2Vl2b();
      default -> throw GraceException.user("--shape is '%s'; allowed: student, qwen2-vl-2b", name);
    };
  }
}
