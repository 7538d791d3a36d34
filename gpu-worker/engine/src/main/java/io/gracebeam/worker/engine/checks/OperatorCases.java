package io.gracebeam.worker.engine.checks;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.ndarray.types.SparseFormat;
import ai.djl.nn.core.Embedding;
import ai.djl.nn.core.Linear;
import ai.djl.nn.norm.LayerNorm;
import ai.djl.training.GradientCollector;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * Operators that the project needs, on inputs by formula (value i of input k is sin(0.7 i + 1.3 k),
 * or its magnitude plus 0.1), with the gradient of sum(out[i] cos(0.3 i)) by every input. The same
 * cases run on this engine, on any of its devices, on DJL's PyTorch engine (in a process of its
 * own, since two libtorch builds cannot share one) and in torch ({@code
 * conformance/make_goldens.py}).
 */
public final class OperatorCases {
  /** An operator, its inputs' shapes, and whether inputs must be positive. */
  public record Case(
      String name, List<Shape> shapes, boolean positive, Function<NDList, NDArray> function) {}

  private OperatorCases() {}

  /** Every case, in an order that does not change. */
  public static List<Case> all() {
    List<Case> out = new ArrayList<>();
    add(out, "add", x -> x.get(0).add(x.get(1)), s(2, 3, 5), s(5));
    add(out, "add_number", x -> x.get(0).add(1.5), s(7));
    add(out, "sub", x -> x.get(0).sub(x.get(1)), s(1, 13), s(3, 1));
    add(out, "mul", x -> x.get(0).mul(x.get(1)), s(2, 1, 5), s(2, 3, 1));
    add(out, "scale", x -> EngineArrays.scale(x.get(0), 0.37f), s(3, 7));
    positive(out, "div", x -> x.get(0).div(x.get(1)), s(3, 7), s(7));
    positive(out, "pow", x -> x.get(0).pow(2.5), s(11));
    positive(out, "sqrt", x -> x.get(0).sqrt(), s(3, 5));
    positive(out, "log", x -> x.get(0).log(), s(3, 5));
    add(out, "exp", x -> x.get(0).exp(), s(9));
    add(out, "neg", x -> x.get(0).neg(), s(9));
    add(out, "abs", x -> x.get(0).abs(), s(9));
    add(out, "tanh", x -> x.get(0).tanh(), s(9));
    add(out, "square", x -> x.get(0).square(), s(9));
    add(out, "maximum", x -> x.get(0).maximum(x.get(1)), s(3, 5), s(3, 5));
    add(out, "clip", x -> x.get(0).clip(-0.5, 0.5), s(11));
    add(out, "sigmoid", x -> x.get(0).getNDArrayInternal().sigmoid(), s(3, 5));
    add(out, "silu", x -> EngineArrays.silu(x.get(0)), s(3, 5));
    add(out, "gelu", x -> x.get(0).getNDArrayInternal().gelu(), s(3, 5));
    add(out, "relu", x -> x.get(0).getNDArrayInternal().relu(), s(3, 5));
    add(out, "softmax", x -> x.get(0).softmax(-1), s(2, 3, 7));
    add(out, "softmax_first", x -> x.get(0).softmax(0), s(5, 3));
    add(out, "log_softmax", x -> x.get(0).logSoftmax(-1), s(3, 7));
    add(out, "sum_axis", x -> x.get(0).sum(new int[] {1}), s(2, 3, 5));
    add(out, "sum_all", x -> x.get(0).sum(), s(2, 3));
    add(out, "mean_last", x -> x.get(0).mean(new int[] {-1}, true), s(2, 3, 5));
    add(out, "cumsum", x -> x.get(0).cumSum(1), s(2, 5));
    add(out, "linear", x -> linear(x, null), s(2, 3, 5), s(7, 5));
    add(out, "linear_bias", x -> linear(x, x.get(2)), s(4, 5), s(7, 5), s(7));
    add(out, "linear_one_row", x -> linear(x, null), s(1, 33), s(3, 33));
    add(out, "linear_empty", x -> linear(x, null), s(0, 5), s(7, 5));
    add(out, "matmul", x -> x.get(0).matMul(x.get(1)), s(3, 5), s(5, 2));
    add(out, "matmul_batch", x -> x.get(0).matMul(x.get(1)), s(2, 2, 3, 5), s(2, 2, 5, 3));
    add(
        out,
        "matmul_transposed",
        x -> x.get(0).matMul(x.get(1).transpose(0, 1, 3, 2)),
        s(2, 2, 3, 5),
        s(2, 2, 4, 5));
    add(out, "matmul_shared", x -> x.get(0).matMul(x.get(1)), s(1, 4, 6), s(3, 6, 2));
    add(out, "rms_norm", x -> EngineArrays.rmsNorm(x.get(0), x.get(1), 1e-5f), s(2, 3, 8), s(8));
    add(
        out,
        "layer_norm",
        x ->
            LayerNorm.layerNorm(x.get(0), new Shape(6), x.get(1), x.get(2), 1e-5f)
                .singletonOrThrow(),
        s(2, 3, 6),
        s(6),
        s(6));
    add(out, "rows", x -> rows(x.get(0), 3, 0, 3, 1), s(4, 3));
    add(out, "concat", x -> NDArrays.concat(new NDList(x.get(0), x.get(1)), 1), s(2, 3), s(2, 4));
    add(out, "stack", x -> NDArrays.stack(new NDList(x.get(0), x.get(1))), s(2, 3), s(2, 3));
    add(out, "slice_last", x -> x.get(0).get("..., 2:"), s(2, 3, 5));
    add(out, "slice_first", x -> x.get(0).get(":, 1:"), s(2, 3, 2));
    add(out, "pick_row", x -> x.get(0).get("1"), s(3, 4));
    add(out, "reshape", x -> x.get(0).transpose().reshape(2, 6), s(4, 3));
    add(out, "transpose", x -> x.get(0).transpose(2, 0, 1), s(2, 3, 4));
    add(out, "broadcast", x -> x.get(0).broadcast(new Shape(2, 3, 4)), s(1, 3, 1));
    add(out, "expand_dims", x -> x.get(0).expandDims(1).mul(x.get(0).expandDims(0)), s(4));
    add(out, "repeat", x -> x.get(0).repeat(0, 2), s(2, 3));
    add(out, "where", x -> NDArrays.where(x.get(0).gt(0.2), x.get(0), x.get(1)), s(3, 5), s(3, 5));
    add(
        out,
        "attention",
        x -> x.get(0).matMul(x.get(1).transpose(0, 1, 3, 2)).softmax(-1).matMul(x.get(2)),
        s(1, 2, 5, 4),
        s(1, 2, 5, 4),
        s(1, 2, 5, 4));
    return out;
  }

  private static Shape s(long... sizes) {
    return new Shape(sizes);
  }

  private static void add(
      List<Case> to, String name, Function<NDList, NDArray> function, Shape... shapes) {
    to.add(new Case(name, List.of(shapes), false, function));
  }

  private static void positive(
      List<Case> to, String name, Function<NDList, NDArray> function, Shape... shapes) {
    to.add(new Case(name, List.of(shapes), true, function));
  }

  private static NDArray linear(NDList x, NDArray bias) {
    return bias == null
        ? Linear.linear(x.get(0), x.get(1)).singletonOrThrow()
        : Linear.linear(x.get(0), x.get(1), bias).singletonOrThrow();
  }

  private static NDArray rows(NDArray table, long... index) {
    return Embedding.embedding(
            EngineArrays.of(table.getManager(), index), table, SparseFormat.DENSE)
        .singletonOrThrow();
  }

  private static float[] input(Case c, int k) {
    float[] out = new float[Math.toIntExact(c.shapes().get(k).size())];
    for (int i = 0; i < out.length; i++) {
      double v = Math.sin(0.7 * i + 1.3 * k);
      out[i] = (float) (c.positive() ? Math.abs(v) + 0.1 : v);
    }
    return out;
  }

  /** The same with inputs that are rounded to the type of the computation and no further. */
  public static Map<String, float[]> run(Engine engine, Device device, Case c, DataType type) {
    return run(engine, device, c, type, type);
  }

  /**
   * Runs a case forwards and backwards.
   *
   * @param device where everything is computed
   * @param type of the computation
   * @param given type that inputs and weights of the sum are rounded to first
   * @return the output under "name", gradients by the inputs under "name/0", "name/1", ...
   */
  public static Map<String, float[]> run(
      Engine engine, Device device, Case c, DataType type, DataType given) {
    Map<String, float[]> out = new LinkedHashMap<>();
    try (NDManager manager = engine.newBaseManager(device);
        GradientCollector collector = engine.newGradientCollector()) {
      NDList inputs = new NDList();
      for (int k = 0; k < c.shapes().size(); k++) {
        NDArray x = array(manager, input(c, k), c.shapes().get(k), type, given);
        x.setRequiresGradient(true);
        x.getGradient().subi(x.getGradient().duplicate());
        inputs.add(x);
      }
      NDArray y = c.function().apply(inputs);
      out.put(c.name(), EngineArrays.cast(y, DataType.FLOAT32).toFloatArray());
      float[] weights = new float[Math.toIntExact(y.size())];
      for (int i = 0; i < weights.length; i++) {
        weights[i] = (float) Math.cos(0.3 * i);
      }
      NDArray loss = y.mul(array(manager, weights, y.getShape(), type, given)).sum();
      collector.backward(loss);
      for (int k = 0; k < inputs.size(); k++) {
        NDArray gradient = inputs.get(k).getGradient();
        out.put(c.name() + "/" + k, EngineArrays.cast(gradient, DataType.FLOAT32).toFloatArray());
      }
    }
    return out;
  }

  private static NDArray array(
      NDManager manager, float[] values, Shape shape, DataType type, DataType given) {
    return EngineArrays.cast(EngineArrays.of(manager, values, shape, given), type);
  }
}
