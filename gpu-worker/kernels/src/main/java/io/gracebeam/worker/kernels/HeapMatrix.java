package io.gracebeam.worker.kernels;

/** A packed weight that the kernels in Java multiply with as it is. */
record HeapMatrix(ProductKernels products, PackedWeight weight) implements PackedMatrix {
  @Override
  public void multiply(float[] x, int m, float[] y) {
    products.matmul(x, m, weight, y);
  }

  @Override
  public long bytes() {
    return weight.bytes();
  }

  @Override
  public void close() {
    // The heap's memory is the garbage collector's.
  }
}
