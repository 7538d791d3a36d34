package io.gracebeam.worker.methods.export;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.DecoderWeights;
import io.gracebeam.worker.kernels.FloatWeight;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.Matrix;
import io.gracebeam.worker.kernels.NativeKernels;
import io.gracebeam.worker.kernels.PackedMatrix;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.model.LlavaModel;
import io.gracebeam.worker.methods.model.Part;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/**
 * Opens deployed folders: a pack-quantized one computes all packed linears on the packed words, a
 * dense one as it is.
 */
public final class PackedModel {
  private static final String EMBEDDING = "language_model.model.embed_tokens.weight";
  private static final String HEAD = "language_model.lm_head.weight";

  private PackedModel() {}

  /**
   * Loads a pack-quantized or dense Hugging Face folder.
   *
   * @throws GraceException data, if packed tensors and config.json do not fit each other
   */
  public static LlavaModel load(EngineHandle engine, Path folder) {
    if (!Scheme.present(folder)) {
      return LlavaModel.load(engine, folder);
    }
    LlavaConfig config = LlavaConfig.read(folder);
    Map<String, Tensor> tensors = Checkpoint.load(folder).tensors();
    Scheme scheme = Scheme.read(folder, config.text().headDim());
    Map<String, PackedWeight> packed = packedWeights(scheme, tensors);
    packed.forEach((name, w) -> checkPart(config, name, w));
    Map<String, float[]> values = new HashMap<>();
    tensors.forEach(
        (name, t) -> {
          if (config.parameterShapes().containsKey(name) && !packed.containsKey(name)) {
            values.put(name, t.floats());
          }
        });
    Set<String> replaced = new HashSet<>(packed.keySet());
    if (packed.containsKey(HEAD) && same(values.get(EMBEDDING), packed.get(HEAD))) {
      values.remove(EMBEDDING);
      replaced.add(EMBEDDING);
    }
    LlavaModel model = LlavaModel.create(engine, config, values, replaced);
    packed.forEach((name, w) -> model.setLinear(name, new Packed(w)));
    if (KernelProvider.best() instanceof NativeKernels kernels
        && packed.keySet().containsAll(model.quantizableWeights())) {
      model.setPacked(kernels.decoder(weights(config, values, packed)), scheme.kvBits());
    }
    return model;
  }

  /** Whether a table of embeddings has the values of the packed head: a tied model was exported. */
  private static boolean same(float[] table, PackedWeight head) {
    if (table == null || table.length != (long) head.rows() * head.cols()) {
      return false;
    }
    float[] row = new float[head.cols()];
    for (int r = 0; r < head.rows(); r++) {
      head.row(r, row, 0);
      for (int c = 0; c < row.length; c++) {
        if (table[r * row.length + c] != row[c]) {
          return false;
        }
      }
    }
    return true;
  }

  private static void checkPart(LlavaConfig config, String name, PackedWeight w) {
    long[] shape = config.parameterShapes().get(name);
    if (shape == null || Part.of(name).isEmpty()) {
      throw GraceException.data(
          "%s is packed; allowed are linears of decoder, head, vision tower and projector", name);
    }
    if (shape[0] != w.rows() || shape[1] != w.cols()) {
      throw GraceException.data(
          "%s is %d x %d; its config.json calls for %d x %d",
          name, w.rows(), w.cols(), shape[0], shape[1]);
    }
  }

  /** The packed weights of a folder, by the name of the weight they stand for. */
  static Map<String, PackedWeight> packedWeights(Scheme scheme, Map<String, Tensor> tensors) {
    Map<String, PackedWeight> out = new LinkedHashMap<>();
    for (Map.Entry<String, Tensor> e : tensors.entrySet()) {
      if (!e.getKey().endsWith(".weight_packed")) {
        continue;
      }
      String name = e.getKey().substring(0, e.getKey().length() - "_packed".length());
      Tensor scale = tensors.get(name + "_scale");
      Tensor shape = tensors.get(name + "_shape");
      if (scale == null || shape == null || shape.size() != 2) {
        throw GraceException.data("%s lacks its weight_scale or weight_shape", name);
      }
      long[] sizes = shape.longs();
      try {
        int rows = Math.toIntExact(sizes[0]);
        int cols = Math.toIntExact(sizes[1]);
        Scheme.Group group = scheme.group(name);
        out.put(
            name,
            new PackedWeight(
                group.bits(), group.of(cols), rows, cols, e.getValue().ints(), scale.floats()));
      } catch (IllegalArgumentException | ArithmeticException x) {
        throw GraceException.data("%s: %s", name, x.getMessage()).withCause(x);
      }
    }
    return out;
  }

  static DecoderShape shape(LlavaConfig.Text t) {
    return new DecoderShape(
        t.layers(),
        t.width(),
        t.heads(),
        t.kvHeads(),
        t.headDim(),
        t.mlp(),
        t.vocab(),
        (float) t.eps());
  }

  /** The decoder's weights, with those that take the same input below each other. */
  static DecoderWeights weights(
      LlavaConfig config, Map<String, float[]> values, Map<String, PackedWeight> packed) {
    LlavaConfig.Text t = config.text();
    DecoderShape shape = shape(t);
    String root = "language_model.model.";
    List<DecoderWeights.Layer> layers = new ArrayList<>();
    for (int i = 0; i < t.layers(); i++) {
      String name = root + "layers." + i + ".";
      Function<String, PackedWeight> w = part -> packed.get(name + part + "_proj.weight");
      layers.add(
          new DecoderWeights.Layer(
              values.get(name + "input_layernorm.weight"),
              PackedWeight.stack(
                  w.apply("self_attn.q"), w.apply("self_attn.k"), w.apply("self_attn.v")),
              null,
              w.apply("self_attn.o"),
              values.get(name + "post_attention_layernorm.weight"),
              PackedWeight.stack(w.apply("mlp.gate"), w.apply("mlp.up")),
              w.apply("mlp.down")));
    }
    String head = config.tied() ? root + "embed_tokens.weight" : "language_model.lm_head.weight";
    Matrix matrix = packed.get(head);
    return new DecoderWeights(
        shape,
        layers,
        values.get(root + "norm.weight"),
        matrix == null ? new FloatWeight(t.vocab(), t.width(), values.get(head)) : matrix);
  }

  /** A product with a packed weight, on the kernels of this process; packed at its first use. */
  private static final class Packed implements LlavaModel.Linear {
    private final PackedWeight weight;
    private final int rows;
    private final int cols;
    private PackedMatrix matrix;

    Packed(PackedWeight w) {
      this.weight = w;
      this.rows = w.rows();
      this.cols = w.cols();
    }

    @Override
    public NDArray apply(NDArray x) {
      if (matrix == null) {
        matrix = KernelProvider.best().open(weight);
      }
      float[] in = x.toFloatArray();
      int m = in.length / cols;
      float[] y = new float[m * rows];
      matrix.multiply(in, m, y);
      long[] shape = x.getShape().getShape().clone();
      shape[shape.length - 1] = rows;
      return EngineArrays.of(x.getManager(), y, new Shape(shape), x.getDataType());
    }

    @Override
    public void row(int index, float[] out, int at) {
      weight.row(index, out, at);
    }

    @Override
    public void close() {
      if (matrix != null) {
        matrix.close();
      }
    }
  }
}
