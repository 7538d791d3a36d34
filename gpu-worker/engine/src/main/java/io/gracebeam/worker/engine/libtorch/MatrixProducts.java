package io.gracebeam.worker.engine.libtorch;

/**
 * Products of bfloat16 matrices that the engine LibTorch uses instead of libtorch's own, where
 * those cannot use the processor's matrix instructions. Found by {@link java.util.ServiceLoader}.
 */
public interface MatrixProducts {
  /**
   * Addresses of an OpenMP run time's functions.
   *
   * @param parallel GOMP_parallel
   * @param thread omp_get_thread_num
   * @param threads omp_get_num_threads
   */
  record OpenMp(long parallel, long thread, long threads) {}

  /**
   * Prepares the products on threads of this run time.
   *
   * @return whether this machine can do them
   */
  boolean start(OpenMp openMp, int threads);

  /** What decides the products' bits, in a word; once started. */
  String unit();

  /**
   * A matrix in native memory.
   *
   * @param address of its first number
   * @param row numbers from one row to the next
   * @param col numbers from one column to the next
   */
  record Operand(long address, long row, long col) {}

  /** Whether a matrix may have these strides, in numbers. */
  boolean takes(long row, long col);

  /**
   * c [m, n] = a [m, k] times b [k, n]; sizes are at least 1. Called from any thread.
   *
   * @param c address of the result, row-major and dense
   */
  void multiply(long m, long n, long k, Operand a, Operand b, long c);
}
