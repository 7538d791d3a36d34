package io.gracebeam.worker.kernels;

import java.util.List;

/**
 * Weights of a decoder.
 *
 * @param norm the last one's weight [width]
 * @param head [vocab, width]
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
public record DecoderWeights(DecoderShape shape, List<Layer> layers, float[] norm, Matrix head) {
  private static final String WHERE = "DecoderWeights";

  /**
   * One layer.
   *
   * @param norm [width]
   * @param qkv queries, keys and values below each other, [(heads + 2 kvHeads) headDim, width]
   * @param bias of qkv's rows; null for none
   * @param out [width, heads headDim]
   * @param mlpNorm [width]
   * @param gateUp gate and up below each other, [2 mlp, width]
   * @param down [width, mlp]
   */
  public record Layer(
      float[] norm,
      Matrix qkv,
      float[] bias,
      Matrix out,
      float[] mlpNorm,
      Matrix gateUp,
      Matrix down) {}

  /** Validates shapes and that norms and biases are finite. */
  public DecoderWeights {
    Checks.length(WHERE, "layers", layers.size(), shape.layers());
    int width = shape.width();
    for (int i = 0; i < layers.size(); i++) {
      Layer l = layers.get(i);
      String name = "layers[" + i + "].";
      vector(name + "norm", l.norm, width);
      matrix(name + "qkv", l.qkv, shape.qkv(), width);
      if (l.bias != null) {
        vector(name + "bias", l.bias, shape.qkv());
      }
      matrix(name + "out", l.out, width, shape.heads() * shape.headDim());
      vector(name + "mlpNorm", l.mlpNorm, width);
      matrix(name + "gateUp", l.gateUp, 2 * shape.mlp(), width);
      matrix(name + "down", l.down, width, shape.mlp());
    }
    vector("norm", norm, width);
    matrix("head", head, shape.vocab(), width);
  }

  private static void vector(String name, float[] v, int length) {
    Checks.length(WHERE, name, v.length, length);
    Checks.finite(WHERE, name, v, 0, length);
  }

  private static void matrix(String name, Matrix m, int rows, int cols) {
    if (m.rows() != rows || m.cols() != cols) {
      throw Checks.error(
          WHERE, "%s is %d x %d, allowed is %d x %d", name, m.rows(), m.cols(), rows, cols);
    }
  }
}
