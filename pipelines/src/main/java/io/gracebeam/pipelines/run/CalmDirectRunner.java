package io.gracebeam.pipelines.run;

import io.gracebeam.proto.error.GraceException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.beam.runners.direct.Clock;
import org.apache.beam.runners.direct.DirectOptions;
import org.apache.beam.runners.direct.DirectRunner;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.runners.TransformHierarchy;
import org.joda.time.Instant;

/**
 * Beam's direct runner with a clock that rests.
 *
 * <p>While a bundle waits, the direct runner's monitor asks every transform for fired timers again
 * and again without a pause and takes a whole core (apache/beam issue 18070), which the embedded
 * worker needs for training: its engine's threads meet at barriers, so one busy core of two halves
 * its speed several times over. The monitor reads the clock once per transform and round; this
 * clock pauses for a moment after as many readings as the pipeline has transforms.
 */
final class CalmDirectRunner {
  private CalmDirectRunner() {}

  /**
   * Starts a pipeline on the runner of its options; the direct runner gets the resting clock, and
   * does not wait for the end.
   */
  static PipelineResult run(Pipeline pipeline, PipelineOptions options) {
    if (options.getRunner() != DirectRunner.class) {
      return pipeline.run(options);
    }
    options.as(DirectOptions.class).setBlockOnRun(false);
    DirectRunner runner = DirectRunner.fromOptions(options);
    setClock(runner, new RestingClock(transforms(pipeline)));
    return runner.run(pipeline);
  }

  private static int transforms(Pipeline pipeline) {
    int[] count = {0};
    pipeline.traverseTopologically(
        new Pipeline.PipelineVisitor.Defaults() {
          @Override
          public void visitPrimitiveTransform(TransformHierarchy.Node node) {
            count[0]++;
          }
        });
    return Math.max(1, count[0]);
  }

  /** The setter is not public and its parameter is of a vendored type: hence by name. */
  private static void setClock(DirectRunner runner, Clock clock) {
    for (Method method : DirectRunner.class.getDeclaredMethods()) {
      if (method.getName().equals("setClockSupplier") && method.getParameterCount() == 1) {
        Class<?> supplier = method.getParameterTypes()[0];
        Object given =
            Proxy.newProxyInstance(
                supplier.getClassLoader(),
                new Class<?>[] {supplier},
                (proxy, called, arguments) -> called.getName().equals("get") ? clock : null);
        try {
          method.setAccessible(true);
          method.invoke(runner, given);
          return;
        } catch (IllegalAccessException | InvocationTargetException e) {
          throw GraceException.bug("the direct runner refuses its clock").withCause(e);
        }
      }
    }
    throw GraceException.bug("this version of the direct runner takes no clock");
  }

  /** Time of day that advances steadily, and a rest of ten times each round of readings. */
  static final class RestingClock implements Clock {
    private static final long MOST_NANOS = 8_000_000;

    private final int round;
    private final AtomicInteger readings = new AtomicInteger();
    private final AtomicLong roundBegan = new AtomicLong(System.nanoTime());
    private final long startMillis = System.currentTimeMillis();
    private final long startNanos = System.nanoTime();

    RestingClock(int round) {
      this.round = round;
    }

    @Override
    public Instant now() {
      if (readings.incrementAndGet() % round == 0) {
        long took = System.nanoTime() - roundBegan.get();
        LockSupport.parkNanos(Math.min(10 * took, MOST_NANOS));
        roundBegan.set(System.nanoTime());
      }
      return Instant.ofEpochMilli(startMillis + (System.nanoTime() - startNanos) / 1_000_000);
    }
  }
}
