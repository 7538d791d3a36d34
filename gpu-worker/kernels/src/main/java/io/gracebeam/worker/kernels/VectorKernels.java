package io.gracebeam.worker.kernels;

import java.util.concurrent.ForkJoinPool;

/**
 * Kernels on the Vector API.
 *
 * <p>Bits of all but products with packed weights (which are the same everywhere) are the same for
 * any number of threads and any m on machines of one vector width ({@link #describe}): every sum
 * has one accumulator per lane, and lanes are added in ascending order.
 */
final class VectorKernels implements Kernels {
  private static final int LANES = VectorLanes.SPECIES.length();

  private final ForkJoinPool pool;
  private final ProductKernels products;
  private final QuantizerKernels quantizer;
  private final TrainingKernels training;
  private final LossKernels losses;

  /** Kernels on a pool of their own with that many threads. */
  VectorKernels(int threads) {
    this(Parallel.pool(threads));
  }

  VectorKernels(ForkJoinPool pool) {
    this.pool = pool;
    this.products = new VectorProducts(pool);
    this.quantizer = new VectorQuantizer(pool);
    this.training = new VectorTraining(pool);
    this.losses = new JavaLosses(products);
  }

  @Override
  public String name() {
    return "vector";
  }

  @Override
  public String describe() {
    return LANES + " float lanes, " + pool.getParallelism() + " thread(s)";
  }

  @Override
  public String identity() {
    return "vector of " + LANES;
  }

  @Override
  public ProductKernels products() {
    return products;
  }

  @Override
  public QuantizerKernels quantizer() {
    return quantizer;
  }

  @Override
  public TrainingKernels training() {
    return training;
  }

  @Override
  public LossKernels losses() {
    return losses;
  }
}
