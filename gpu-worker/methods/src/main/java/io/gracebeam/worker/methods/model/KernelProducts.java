package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.engine.libtorch.MatrixProducts;
import io.gracebeam.worker.kernels.Bfloat16Products;

/** The native kernels' bfloat16 products for the engine. */
public final class KernelProducts implements MatrixProducts {
  private Bfloat16Products products;

  @Override
  public synchronized boolean start(OpenMp openMp, int threads) {
    if (products == null && Bfloat16Products.present()) {
      products =
          new Bfloat16Products(openMp.parallel(), openMp.thread(), openMp.threads(), threads);
    }
    return products != null;
  }

  @Override
  public String unit() {
    return Bfloat16Products.unit();
  }

  @Override
  public boolean takes(long row, long col) {
    return Bfloat16Products.strides(row, col);
  }

  @Override
  public void multiply(long m, long n, long k, Operand a, Operand b, long c) {
    products.multiply(m, n, k, operand(a), operand(b), c);
  }

  private static Bfloat16Products.Operand operand(Operand x) {
    return new Bfloat16Products.Operand(x.address(), x.row(), x.col());
  }
}
