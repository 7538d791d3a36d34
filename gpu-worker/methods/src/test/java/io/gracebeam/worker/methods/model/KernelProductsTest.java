package io.gracebeam.worker.methods.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.training.TinyWorld;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Linear layers of the engine LibTorch in bfloat16, on the kernels' products where this processor
 * needs them, on libtorch's own elsewhere: values and gradients against sums in double.
 */
class KernelProductsTest {
  private static EngineHandle engine;

  @BeforeAll
  static void open() {
    assumeTrue("LibTorch".equals(System.getProperty("grace.test.engine", "LibTorch")));
    engine = TinyWorld.ENGINE;
  }

  @ParameterizedTest
  @CsvSource({"1,1,1", "3,5,7", "33,70,31", "145,128,352", "64,1,40", "1,300,20"})
  void linearAndItsGradients(int rows, int in, int out) {
    float[] x = values(rows * in, 1);
    float[] w = values(in * out, 2);
    float[] bias = values(out, 3);
    float[] seed = values(rows * out, 4);
    try (NDManager manager = engine.engine().newBaseManager();
        GradientCollector collector = engine.engine().newGradientCollector()) {
      NDArray xs = EngineArrays.of(manager, x, new Shape(1, rows, in), DataType.BFLOAT16);
      NDArray ws = EngineArrays.of(manager, w, new Shape(out, in), DataType.BFLOAT16);
      NDArray bs = EngineArrays.of(manager, bias, new Shape(out), DataType.BFLOAT16);
      xs.setRequiresGradient(true);
      ws.setRequiresGradient(true);
      bs.setRequiresGradient(true);
      NDArray y = Ops.linear(xs, ws, bs);
      collector.backward(
          y.mul(EngineArrays.of(manager, seed, new Shape(1, rows, out), DataType.BFLOAT16)).sum());
      // The bias is added to what was rounded already: one more rounding.
      close(y.toFloatArray(), product(x, rows, in, 1, w, 1, in, out, bias), 2.5);
      close(xs.getGradient().toFloatArray(), product(seed, rows, out, 1, w, in, 1, in, null), 1);
      close(ws.getGradient().toFloatArray(), product(seed, out, rows, out, x, in, 1, in, null), 1);
    }
  }

  @Test
  void emptyMatricesAndOtherTypes() {
    try (NDManager manager = engine.engine().newBaseManager()) {
      NDArray none = manager.zeros(new Shape(0, 4), DataType.BFLOAT16);
      NDArray some = manager.ones(new Shape(4, 3), DataType.BFLOAT16);
      assertThat(none.matMul(some).getShape()).isEqualTo(new Shape(0, 3));
      NDArray flat = manager.zeros(new Shape(2, 0), DataType.BFLOAT16);
      NDArray tall = manager.zeros(new Shape(0, 3), DataType.BFLOAT16);
      assertThat(flat.matMul(tall).toFloatArray()).containsOnly(0).hasSize(6);
      NDArray wide = manager.create(new float[] {1, 2, 3, 4}, new Shape(2, 2));
      assertThat(wide.matMul(wide).toFloatArray()).containsExactly(7, 10, 15, 22);
    }
  }

  @Test
  void wrongShapesAreAnErrorAndNothingMore() {
    try (NDManager manager = engine.engine().newBaseManager()) {
      NDArray a = manager.ones(new Shape(2, 3), DataType.BFLOAT16);
      NDArray b = manager.ones(new Shape(4, 5), DataType.BFLOAT16);
      assertThatThrownBy(() -> a.matMul(b))
          .hasMessageContaining("(2, 3)")
          .hasMessageContaining("(4, 5)");
      assertThat(a.matMul(a.transpose()).toFloatArray()).containsOnly(3);
    }
  }

  private static float[] values(int n, long seed) {
    Random random = new Random(seed);
    float[] out = new float[n];
    for (int i = 0; i < n; i++) {
      int bits = Float.floatToRawIntBits((float) random.nextGaussian());
      out[i] = Float.intBitsToFloat(bits & 0xFFFF0000);
    }
    return out;
  }

  /** Sums and sums of magnitudes of a [m, k] with a column stride times b [k, n] with strides. */
  private static double[][] product(
      float[] a, int m, int k, int aCol, float[] b, int bRow, int bCol, int n, float[] bias) {
    double[][] out = new double[2][m * n];
    int aRow = aCol == 1 ? k : 1;
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double sum = bias == null ? 0 : bias[j];
        double size = Math.abs(sum);
        for (int x = 0; x < k; x++) {
          double term = (double) a[i * aRow + x * aCol] * b[x * bRow + j * bCol];
          sum += term;
          size += Math.abs(term);
        }
        out[0][i * n + j] = sum;
        out[1][i * n + j] = size;
      }
    }
    return out;
  }

  private static void close(float[] found, double[][] wanted, double roundings) {
    assertThat(found).hasSize(wanted[0].length);
    for (int i = 0; i < found.length; i++) {
      double bound = roundings * Math.abs(wanted[0][i]) / 256 + wanted[1][i] * 0x1p-10 * roundings;
      assertThat((double) found[i]).isBetween(wanted[0][i] - bound, wanted[0][i] + bound);
    }
  }
}
