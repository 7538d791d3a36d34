package io.gracebeam.worker.server.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.gracebeam.worker.engine.EngineHandle;
import java.util.Arrays;
import java.util.function.BinaryOperator;

/**
 * Whole cost of small operators: product and sum of two arrays of one number, made and closed, with
 * nothing recorded. Prints the medians of some runs, in microseconds. On this engine the product
 * goes through libtorch's dispatcher, the sum through an exported function. A view (detach) goes
 * through the dispatcher and computes nothing, so it shows the cost of the call. Each run ends with
 * the reading of a value, which waits for the device.
 */
final class OperatorContestant {
  private static final int RUNS = 15;

  private OperatorContestant() {}

  /** Arguments: engine, compute type, threads, device, operators of a run. */
  public static void main(String[] args) {
    Ending.run(() -> turn(args));
  }

  private static void turn(String[] args) {
    EngineHandle engine = Contestants.engine(args);
    int count = Integer.parseInt(args[4]);
    try (NDManager manager = engine.engine().newBaseManager(engine.device());
        NDArray x = manager.create(new float[] {1});
        NDArray y = manager.create(new float[] {2})) {
      System.out.println("engine " + engine.description());
      System.out.println("product " + micros(x, y, NDArray::mul, count));
      System.out.println("view " + micros(x, y, (a, b) -> a.stopGradient(), count));
      System.out.println("sum " + micros(x, y, NDArray::add, count));
    }
  }

  private static double micros(NDArray x, NDArray y, BinaryOperator<NDArray> operator, int count) {
    double[] micros = new double[RUNS];
    for (int run = -RUNS; run < RUNS; run++) { // the first ones let the JVM compile
      long start = System.nanoTime();
      for (int i = 0; i < count; i++) {
        operator.apply(x, y).close();
      }
      x.toFloatArray();
      if (run >= 0) {
        micros[run] = (System.nanoTime() - start) / 1e3 / count;
      }
    }
    Arrays.sort(micros);
    return micros[RUNS / 2];
  }
}
