package io.gracebeam.worker.methods.export;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.DecoderWeights;
import io.gracebeam.worker.kernels.FloatWeight;
import io.gracebeam.worker.kernels.Matrix;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.model.LlavaModel;
import io.gracebeam.worker.methods.model.Part;
import java.nio.file.Path;
import java.util.AbstractList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;

/**
 * Opens deployed folders: a pack-quantized one computes all packed linears on the packed words, a
 * dense one as it is.
 */
public final class PackedModel {
  static final String ROOT = "language_model.model.";
  private static final String EMBEDDING = ROOT + "embed_tokens.weight";
  static final String HEAD = "language_model.lm_head.weight";
  private static final String PACKED = ".weight_packed";

  private PackedModel() {}

  /**
   * Loads a pack-quantized or dense Hugging Face folder. Tensors are read one after the other, and
   * each linear's weight is kept once: in the decoder in C where that can be, whose weights passes
   * of the engine take as well, else for the kernels at hand. A table of embeddings that is not the
   * head stays in its file.
   *
   * @throws GraceException data, if packed tensors and config.json do not fit each other
   */
  public static LlavaModel load(EngineHandle engine, Path folder) {
    if (!Scheme.present(folder)) {
      return LlavaModel.load(engine, folder);
    }
    LlavaConfig config = LlavaConfig.read(folder);
    Checkpoint checkpoint = Checkpoint.open(folder);
    Scheme scheme = Scheme.read(folder, config.text().headDim());
    Set<String> packed = packedNames(checkpoint.names());
    packed.forEach(name -> checkPart(config, name, sizes(name, checkpoint::tensor)));
    Function<String, float[]> values =
        name -> {
          Tensor tensor = packed.contains(name) ? null : checkpoint.tensor(name);
          return tensor == null ? null : tensor.floats();
        };
    Function<String, PackedWeight> weights =
        name -> packed.contains(name) ? packedWeight(scheme, checkpoint::tensor, name) : null;
    Set<String> absent = new LinkedHashSet<>(packed);
    boolean decoded = decoded(config, packed);
    if (!config.tied()) {
      absent.add(EMBEDDING);
      if (decoded && absent.add(HEAD)) {
        checkHead(config, checkpoint.shape(HEAD));
      }
    }
    LlavaModel model =
        LlavaModel.create(
            engine, config, name -> absent.contains(name) ? null : values.apply(name), absent);
    try {
      if (absent.remove(EMBEDDING)) {
        model.setTable(checkpoint.rows(EMBEDDING));
      }
      if (decoded) {
        PackedDecoder decoder = PackedDecoder.of(weights(config, values, weights));
        model.setPacked(decoder, scheme.kvBits());
        Map<String, PackedLinear> shared = PackedLinear.of(decoder);
        shared.keySet().retainAll(absent);
        shared.forEach(model::setLinear);
        absent.removeAll(shared.keySet());
      }
      for (String name : absent) {
        model.setLinear(name, PackedLinear.of(weights.apply(name)));
      }
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
    return model;
  }

  /** Whether the kernels in C hold the whole decoder. */
  private static boolean decoded(LlavaConfig config, Set<String> packed) {
    return PackedDecoder.present()
        && config.parameterShapes().keySet().stream()
            .filter(name -> Part.of(name).equals(Optional.of(Part.DECODER)))
            .allMatch(packed::contains);
  }

  private static void checkHead(LlavaConfig config, long[] shape) {
    if (!Arrays.equals(shape, config.parameterShapes().get(HEAD))) {
      throw GraceException.data(
          "%s has shape %s; its config.json calls for %s",
          HEAD, Arrays.toString(shape), Arrays.toString(config.parameterShapes().get(HEAD)));
    }
  }

  private static void checkPart(LlavaConfig config, String name, long[] sizes) {
    long[] shape = config.parameterShapes().get(name);
    if (shape == null || Part.of(name).isEmpty()) {
      throw GraceException.data(
          "%s is packed; allowed are linears of decoder, head, vision tower and projector", name);
    }
    if (shape[0] != sizes[0] || shape[1] != sizes[1]) {
      throw GraceException.data(
          "%s is %d x %d; its config.json calls for %d x %d",
          name, sizes[0], sizes[1], shape[0], shape[1]);
    }
  }

  /** The packed weights of a folder, by the name of the weight they stand for. */
  static Map<String, PackedWeight> packedWeights(Scheme scheme, Map<String, Tensor> tensors) {
    Map<String, PackedWeight> out = new LinkedHashMap<>();
    for (String name : packedNames(tensors.keySet())) {
      out.put(name, packedWeight(scheme, tensors::get, name));
    }
    return out;
  }

  /** Names of the weights that packed tensors stand for. */
  private static Set<String> packedNames(Set<String> tensors) {
    Set<String> out = new LinkedHashSet<>();
    for (String name : tensors) {
      if (name.endsWith(PACKED)) {
        out.add(name.substring(0, name.length() - PACKED.length()) + ".weight");
      }
    }
    return out;
  }

  /** Rows and columns, as the checkpoint tells them. */
  private static long[] sizes(String name, Function<String, Tensor> tensors) {
    Tensor shape = tensors.apply(name + "_shape");
    if (shape == null || shape.size() != 2) {
      throw lacking(name);
    }
    return shape.longs();
  }

  private static PackedWeight packedWeight(
      Scheme scheme, Function<String, Tensor> tensors, String name) {
    long[] sizes = sizes(name, tensors);
    Tensor scale = tensors.apply(name + "_scale");
    if (scale == null) {
      throw lacking(name);
    }
    try {
      int rows = Math.toIntExact(sizes[0]);
      int cols = Math.toIntExact(sizes[1]);
      Scheme.Group group = scheme.group(name);
      int[] words = tensors.apply(name + "_packed").ints();
      return new PackedWeight(group.bits(), group.of(cols), rows, cols, words, scale.floats());
    } catch (IllegalArgumentException | ArithmeticException x) {
      throw GraceException.data("%s: %s", name, x.getMessage()).withCause(x);
    }
  }

  private static GraceException lacking(String name) {
    return GraceException.data("%s lacks its weight_scale or weight_shape", name);
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

  /**
   * The decoder's weights, with those that take the same input below each other. A layer is asked
   * for, and read, each time it is used, so that one layer's words are in memory and not all.
   */
  static DecoderWeights weights(
      LlavaConfig config, Function<String, float[]> values, Function<String, PackedWeight> packed) {
    LlavaConfig.Text t = config.text();
    List<DecoderWeights.Layer> layers =
        new AbstractList<>() {
          @Override
          public int size() {
            return t.layers();
          }

          @Override
          public DecoderWeights.Layer get(int i) {
            return layer(ROOT + "layers." + i + ".", values, packed);
          }
        };
    String head = config.tied() ? EMBEDDING : HEAD;
    Matrix matrix = packed.apply(head);
    return new DecoderWeights(
        shape(t),
        layers,
        values.apply(ROOT + "norm.weight"),
        matrix == null ? new FloatWeight(t.vocab(), t.width(), values.apply(head)) : matrix);
  }

  private static DecoderWeights.Layer layer(
      String name, Function<String, float[]> values, Function<String, PackedWeight> packed) {
    Function<String, PackedWeight> w = part -> packed.apply(name + part + "_proj.weight");
    return new DecoderWeights.Layer(
        values.apply(name + "input_layernorm.weight"),
        PackedWeight.stack(w.apply("self_attn.q"), w.apply("self_attn.k"), w.apply("self_attn.v")),
        null,
        w.apply("self_attn.o"),
        values.apply(name + "post_attention_layernorm.weight"),
        PackedWeight.stack(w.apply("mlp.gate"), w.apply("mlp.up")),
        w.apply("mlp.down"));
  }
}
