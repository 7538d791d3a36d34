package io.gracebeam.worker.kernels;

/**
 * Plain loops on one thread with sums in double precision: the oracle that the fast kernels are
 * tested against.
 */
final class ScalarKernels implements Kernels {
  private final ProductKernels products = new ScalarProducts();
  private final QuantizerKernels quantizer = new ScalarQuantizer();
  private final TrainingKernels training = new ScalarTraining();
  private final LossKernels losses = new JavaLosses(products);

  @Override
  public String name() {
    return "scalar";
  }

  @Override
  public String identity() {
    return name();
  }

  @Override
  public String describe() {
    return "plain Java";
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
