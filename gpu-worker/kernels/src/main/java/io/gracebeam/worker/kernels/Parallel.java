package io.gracebeam.worker.kernels;

import java.util.concurrent.ForkJoinPool;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

/**
 * Runs independent blocks of work; which thread runs a block never changes what the block computes.
 */
final class Parallel {
  /** System property with the number of threads; the default is the number of processors. */
  static final String THREADS = "grace.kernels.threads";

  private static final int BLOCK = 1 << 14;

  private Parallel() {}

  private static final class Shared {
    static final ForkJoinPool POOL = pool(defaultThreads());
  }

  static int defaultThreads() {
    int n = Integer.getInteger(THREADS, Runtime.getRuntime().availableProcessors());
    if (n < 1 || n > 1024) {
      throw Checks.error(THREADS, "is %d, allowed are 1 to 1024", n);
    }
    return n;
  }

  static ForkJoinPool shared() {
    return Shared.POOL;
  }

  static ForkJoinPool pool(int threads) {
    return new ForkJoinPool(threads);
  }

  /**
   * Calls body(0) .. body(blocks - 1), in parallel when {@code worth} and the pool has more than
   * one thread.
   */
  static void run(ForkJoinPool pool, boolean worth, int blocks, IntConsumer body) {
    if (!worth || blocks < 2 || pool.getParallelism() < 2) {
      for (int b = 0; b < blocks; b++) {
        body.accept(b);
      }
      return;
    }
    pool.submit(() -> IntStream.range(0, blocks).parallel().forEach(body)).join();
  }

  /** Calls element(0) .. element(n - 1), in blocks on the shared pool where there are many. */
  static void elements(int n, IntConsumer element) {
    run(
        shared(),
        n > BLOCK,
        n / BLOCK + (n % BLOCK == 0 ? 0 : 1),
        b -> {
          int from = b * BLOCK;
          int to = n - from < BLOCK ? n : from + BLOCK;
          for (int i = from; i < to; i++) {
            element.accept(i);
          }
        });
  }
}
