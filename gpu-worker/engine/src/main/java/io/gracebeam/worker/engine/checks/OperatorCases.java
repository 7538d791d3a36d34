package io.gracebeam.worker.engine.checks;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.internal.NDArrayEx;
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
 * or its magnitude plus 0.1), and the gradient of sum(out[i] cos(0.3 i)) with respect to every
 * input. The same cases run on this engine, on any of its devices, on DJL's PyTorch engine (in a
 * process of its own, since two libtorch builds cannot share one) and in torch ({@code
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
    fused(out);
    functions(out);
    views(out);
    empty(out);
    return out;
  }

  /** Attention in one operator, and what the models build of several. */
  private static void fused(List<Case> out) {
    Shape heads = s(2, 4, 5, 8);
    Shape fewer = s(2, 2, 5, 8);
    add(out, "attention_fused", x -> attention(x, null), heads, heads, heads);
    add(out, "attention_grouped", x -> attention(x, null), heads, fewer, fewer);
    add(
        out,
        "attention_masked",
        x -> attention(x, causal(x.get(0), 5, 7)),
        s(1, 2, 5, 4),
        s(1, 2, 7, 4),
        s(1, 2, 7, 4));
    add(
        out,
        "attention_grouped_masked",
        x -> attention(x, causal(x.get(0), 5, 5)),
        heads,
        fewer,
        fewer);
    add(
        out,
        "attention_one_query",
        x -> attention(x, null),
        s(1, 2, 1, 8),
        s(1, 2, 9, 8),
        s(1, 2, 9, 8));
    add(
        out,
        "attention_permuted",
        x ->
            EngineArrays.attention(
                    x.get(0).transpose(0, 2, 1, 3),
                    x.get(1).transpose(0, 2, 1, 3),
                    x.get(2).transpose(0, 2, 1, 3),
                    null)
                .transpose(0, 2, 1, 3)
                .reshape(2, 5, 16),
        s(2, 5, 2, 8),
        s(2, 7, 2, 8),
        s(2, 7, 2, 8));
    add(
        out,
        "rotate",
        x -> x.get(0).mul(x.get(1)).add(rotated(x.get(0), 4).mul(x.get(2))),
        s(1, 2, 3, 8),
        s(3, 8),
        s(3, 8));
    add(
        out,
        "quick_gelu",
        x -> x.get(0).mul(ex(EngineArrays.scale(x.get(0), 1.702f)).sigmoid()),
        s(3, 5));
    add(out, "swiglu", x -> EngineArrays.silu(x.get(0)).mul(x.get(1)), s(3, 5), s(3, 5));
    add(out, "convolution", OperatorCases::patches, s(1, 3, 6, 9), s(5, 3, 3, 3));
  }

  private static void functions(List<Case> out) {
    add(out, "sub_number", x -> x.get(0).sub(0.25), s(7));
    add(out, "minimum", x -> x.get(0).minimum(x.get(1)), s(3, 5), s(3, 5));
    add(out, "sin", x -> x.get(0).sin(), s(9));
    add(out, "cos", x -> x.get(0).cos(), s(9));
    add(out, "soft_plus", x -> ex(x.get(0)).softPlus(), s(9));
    add(out, "soft_sign", x -> ex(x.get(0)).softSign(), s(9));
    add(out, "leaky_relu", x -> ex(x.get(0)).leakyRelu(0.1f), s(9));
    add(out, "elu", x -> ex(x.get(0)).elu(1), s(9));
    add(out, "selu", x -> ex(x.get(0)).selu(), s(9));
    add(out, "mish", x -> ex(x.get(0)).mish(), s(9));
    add(out, "prod_axis", x -> x.get(0).prod(new int[] {1}), s(3, 4));
    add(out, "max_axis", x -> x.get(0).max(new int[] {1}), s(3, 5));
    add(out, "min_axis", x -> x.get(0).min(new int[] {0}), s(3, 5));
    add(out, "sum_axes", x -> x.get(0).sum(new int[] {0, 2}, true), s(2, 3, 5));
    add(out, "batch_mat_mul", x -> x.get(0).batchMatMul(x.get(1)), s(2, 3, 5), s(2, 5, 4));
    add(out, "stop_gradient", x -> x.get(0).mul(x.get(0).stopGradient()), s(7));
    add(out, "duplicate", x -> x.get(0).duplicate().mul(x.get(0)), s(7));
  }

  /** Shapes, and inputs that are no rows of memory. */
  private static void views(List<Case> out) {
    add(out, "squeeze", x -> x.get(0).squeeze(1), s(3, 1, 4));
    add(out, "flatten", x -> x.get(0).flatten(), s(2, 3, 2));
    add(out, "tile", x -> x.get(0).tile(new long[] {2, 3}), s(2, 3));
    add(out, "flip", x -> x.get(0).flip(1), s(2, 3));
    add(out, "split", x -> x.get(0).split(2, 1).get(1), s(3, 4));
    add(
        out,
        "concat_last",
        x -> NDArrays.concat(new NDList(x.get(1), x.get(0), x.get(1)), -1),
        s(2, 3),
        s(2, 1));
    add(out, "softmax_view", x -> x.get(0).transpose().softmax(-1), s(5, 3));
    add(out, "log_softmax_view", x -> x.get(0).get(":, 1:4").logSoftmax(-1), s(3, 7));
    add(
        out,
        "rms_norm_view",
        x -> EngineArrays.rmsNorm(x.get(0).transpose(1, 0, 2), x.get(1), 1e-5f),
        s(2, 3, 8),
        s(8));
    add(
        out,
        "layer_norm_view",
        x ->
            LayerNorm.layerNorm(x.get(0).transpose(), new Shape(6), x.get(1), x.get(2), 1e-5f)
                .singletonOrThrow(),
        s(6, 3),
        s(6),
        s(6));
    add(
        out,
        "linear_view",
        x -> Linear.linear(x.get(0).transpose(), x.get(1).get(":, 1:6")).singletonOrThrow(),
        s(5, 4),
        s(7, 7));
    add(
        out,
        "linear_wide_view",
        x -> Linear.linear(x.get(0).get("1:, ..."), x.get(1).transpose()).singletonOrThrow(),
        s(3, 2, 5),
        s(5, 7));
    add(out, "rows_view", x -> rows(x.get(0).transpose(), 2, 0, 2), s(4, 3));
    add(
        out,
        "concat_views",
        x -> NDArrays.concat(new NDList(x.get(0).transpose(), x.get(1).get(":, 1:3")), 1),
        s(2, 3),
        s(3, 4));
    add(out, "silu_view", x -> EngineArrays.silu(x.get(0).get("..., 1:")), s(3, 5));
    add(out, "mul_views", x -> x.get(0).transpose().mul(x.get(1).get("1:, :")), s(3, 4), s(5, 3));
    add(out, "sum_view", x -> x.get(0).transpose(2, 0, 1).sum(new int[] {1}), s(2, 3, 5));
    add(out, "overlapping_views", x -> x.get(0).get("1:").add(x.get(0).get(":2")), s(3, 4));
  }

  private static void empty(List<Case> out) {
    add(out, "add_empty", x -> x.get(0).add(x.get(1)), s(0, 5), s(5));
    add(out, "mul_empty", x -> x.get(0).mul(x.get(1)), s(2, 0, 3), s(2, 1, 3));
    add(out, "softmax_empty", x -> x.get(0).softmax(-1), s(0, 7));
    add(out, "log_softmax_empty", x -> x.get(0).logSoftmax(-1), s(0, 7));
    add(out, "rms_norm_empty", x -> EngineArrays.rmsNorm(x.get(0), x.get(1), 1e-5f), s(0, 8), s(8));
    add(out, "silu_empty", x -> EngineArrays.silu(x.get(0)), s(0, 5));
    add(out, "sum_empty", x -> x.get(0).sum(new int[] {0}), s(0, 5));
    add(out, "matmul_empty_inner", x -> x.get(0).matMul(x.get(1)), s(3, 0), s(0, 2));
    add(
        out,
        "concat_empty",
        x -> NDArrays.concat(new NDList(x.get(0), x.get(1)), 0),
        s(0, 3),
        s(2, 3));
    add(out, "slice_empty", x -> x.get(0).get("2:2").add(1), s(3, 4));
  }

  private static NDArray attention(NDList x, NDArray mask) {
    return EngineArrays.attention(x.get(0), x.get(1), x.get(2), mask);
  }

  /** What query i of the last ones must not see is far below 0: [1, 1, queries, keys]. */
  private static NDArray causal(NDArray like, int queries, int keys) {
    float[] values = new float[queries * keys];
    for (int i = 0; i < queries; i++) {
      for (int j = keys - queries + i + 1; j < keys; j++) {
        values[i * keys + j] = -1e9f;
      }
    }
    return EngineArrays.of(
        like.getManager(), values, new Shape(1, 1, queries, keys), like.getDataType());
  }

  /** The second half of the last axis, negated, before the first. */
  private static NDArray rotated(NDArray x, int half) {
    return NDArrays.concat(
        new NDList(x.get("..., " + half + ":").neg(), x.get("..., :" + half)), -1);
  }

  private static NDArray patches(NDList x) {
    return ex(x.get(0))
        .convolution(x.get(0), x.get(1), null, new Shape(3, 3), new Shape(0, 0), new Shape(1, 1), 1)
        .singletonOrThrow();
  }

  private static NDArrayEx ex(NDArray x) {
    return x.getNDArrayInternal();
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

  /** Runs a case with inputs that are rounded to the type of the computation and no further. */
  public static Map<String, float[]> run(Engine engine, Device device, Case c, DataType type) {
    return run(engine, device, c, type, type);
  }

  /**
   * Runs the forward and backward pass of a case.
   *
   * @param device where everything is computed
   * @param type of the computation
   * @param given type that inputs and weights of the sum are rounded to first
   * @return the output under "name", gradients with respect to the inputs under "name/0", "name/1",
   *     ...
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
