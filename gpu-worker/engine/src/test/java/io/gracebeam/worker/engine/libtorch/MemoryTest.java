package io.gracebeam.worker.engine.libtorch;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.core.Linear;
import ai.djl.training.GradientCollector;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Ten thousand training steps leave no memory behind. */
class MemoryTest {
  private static final int STEPS = 10_000;

  /** Trains in a process of its own, whose heap is there from the start. */
  public static final class Steps {
    public static void main(String[] args) throws IOException {
      Engine engine = Engine.getEngine(LibTorchEngine.NAME);
      double[] quarters = new double[4];
      try (NDManager manager = engine.newBaseManager()) {
        NDArray w = manager.randomNormal(0, 0.1f, new Shape(32, 32), DataType.BFLOAT16);
        for (int step = 0; step < STEPS; step++) {
          try (NDManager own = manager.newSubManager();
              GradientCollector collector = engine.newGradientCollector()) {
            w.setRequiresGradient(true);
            NDArray x = own.create(new float[64 * 32], new Shape(64, 32)).add(step % 7);
            NDArray y =
                Linear.linear(x.toType(DataType.BFLOAT16, false), w).singletonOrThrow().softmax(-1);
            collector.backward(y.square().sum());
            NDArray gradient = w.getGradient();
            gradient.attach(own);
            NDArray less = gradient.mul(0.01f);
            less.attach(own);
            NDArray still = w.stopGradient();
            still.attach(own);
            w.intern(still.sub(less));
          }
          quarters[step * 4 / STEPS] += resident() / (STEPS / 4.0);
        }
      }
      System.out.printf(java.util.Locale.ROOT, "%.0f %.0f%n", quarters[1], quarters[3]);
    }

    /** Kilobytes. */
    private static double resident() throws IOException {
      String[] pages = Files.readString(Path.of("/proc/self/statm")).split(" ");
      return Long.parseLong(pages[1]) * 4.0;
    }
  }

  @Test
  void tenThousandStepsAreFlat() throws Exception {
    List<String> options =
        List.of(
            "-Xms128m",
            "-Xmx128m",
            "-XX:+AlwaysPreTouch",
            "-XX:+UseSerialGC",
            // The memory of a compiler that is still at work would be taken for a leak.
            "-XX:TieredStopAtLevel=1");
    // One thread: two that wait for each other on a busy machine take twenty times as long.
    Children.Result result =
        Children.start(options, Map.of("OMP_NUM_THREADS", "1"), Steps.class.getName());
    assertThat(result.status()).as(result.output()).isZero();
    String[] kilobytes = result.output().lines().reduce((a, b) -> b).orElseThrow().split(" ");
    double second = Double.parseDouble(kilobytes[0]);
    double last = Double.parseDouble(kilobytes[1]);
    assertThat(last).as("second quarter %s kB, last %s kB", second, last).isLessThan(1.02 * second);
  }
}
