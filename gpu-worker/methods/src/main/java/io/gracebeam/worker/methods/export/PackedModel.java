package io.gracebeam.worker.methods.export;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.DecoderWeights;
import io.gracebeam.worker.kernels.FloatWeight;
import io.gracebeam.worker.kernels.Matrix;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.Packing;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.DecoderNames;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import java.util.AbstractList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/**
 * Opens deployed folders: a pack-quantized one computes all packed linears on the packed words, a
 * dense one as it is.
 */
public final class PackedModel {
  private static final String PACKED = ".weight_packed";

  private PackedModel() {}

  /**
   * Loads a pack-quantized or dense Hugging Face folder. Tensors are read one after the other, and
   * each linear's weight is kept once: in the decoder in C where that can be, whose weights passes
   * of the engine take as well, else for the kernels at hand. An embedding table that is not the
   * head stays in its file.
   *
   * @throws GraceException data, if packed tensors and config.json do not fit each other
   */
  public static VisionLanguageModel load(EngineHandle engine, ModelFolder folder) {
    if (!Scheme.present(folder.path())) {
      return folder.load(engine);
    }
    ModelConfig config = folder.config();
    ModelParameters parameters = config.parameters();
    DecoderNames names = config.names();
    Checkpoint checkpoint = folder.checkpoint();
    Scheme scheme = Scheme.read(folder.path(), config.text().headDim());
    Set<String> packed = packedNames(checkpoint.names());
    packed.forEach(name -> checkPart(parameters, name, sizes(name, checkpoint::tensor)));
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
      absent.add(names.embedding());
      if (decoded && absent.add(names.head())) {
        checkHead(parameters.get(names.head()), checkpoint.shape(names.head()));
      }
    }
    VisionLanguageModel model =
        VisionLanguageModel.create(
            engine, config, name -> absent.contains(name) ? null : values.apply(name), absent);
    try {
      if (absent.remove(names.embedding())) {
        model.setTable(checkpoint.rows(names.embedding()));
      }
      if (decoded) {
        PackedDecoder decoder = PackedDecoder.of(weights(config, values, weights));
        model.setPacked(decoder, scheme.kvBits());
        Map<String, PackedLinear> shared = PackedLinear.of(decoder, names);
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
  private static boolean decoded(ModelConfig config, Set<String> packed) {
    return PackedDecoder.present()
        && config.servedByPackedDecoder()
        && packed.containsAll(config.parameters().linears(Part.DECODER));
  }

  private static void checkHead(ModelParameter head, long[] shape) {
    if (!Arrays.equals(shape, head.shape())) {
      throw GraceException.data(
          "%s has shape %s; its config.json calls for %s",
          head.name(), Arrays.toString(shape), Arrays.toString(head.shape()));
    }
  }

  private static void checkPart(ModelParameters parameters, String name, long[] sizes) {
    if (parameters.linearPart(name).isEmpty()) {
      throw GraceException.data(
          "%s is packed; allowed are linears of decoder, head, vision tower and projector", name);
    }
    long[] shape = parameters.get(name).shape();
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
      int size = group.of(cols);
      byte[] zeros = group.symmetric() ? new byte[0] : zeros(tensors, name, group, rows, cols);
      return new PackedWeight(group.bits(), size, rows, cols, words, scale.floats(), zeros);
    } catch (IllegalArgumentException | ArithmeticException x) {
      throw GraceException.data("%s: %s", name, x.getMessage()).withCause(x);
    }
  }

  private static byte[] zeros(
      Function<String, Tensor> tensors, String name, Scheme.Group group, int rows, int cols) {
    Tensor packed = tensors.apply(name + "_zero_point");
    if (packed == null) {
      throw GraceException.data("%s lacks its weight_zero_point", name);
    }
    return Packing.unpackDown(packed.ints(), rows, cols / group.of(cols), group.bits());
  }

  private static GraceException lacking(String name) {
    return GraceException.data("%s lacks its weight_scale or weight_shape", name);
  }

  /**
   * The decoder's weights, with those that take the same input below each other. A layer is asked
   * for, and read, each time it is used, so that one layer's words are in memory and not all.
   */
  static DecoderWeights weights(
      ModelConfig config, Function<String, float[]> values, Function<String, PackedWeight> packed) {
    DecoderSizes t = config.text();
    DecoderNames names = config.names();
    List<DecoderWeights.Layer> layers =
        new AbstractList<>() {
          @Override
          public int size() {
            return t.layers();
          }

          @Override
          public DecoderWeights.Layer get(int i) {
            return layer(names, i, values, packed);
          }
        };
    String head = config.tied() ? names.embedding() : names.head();
    Matrix matrix = packed.apply(head);
    return new DecoderWeights(
        t.shape(),
        layers,
        values.apply(names.norm()),
        matrix == null ? new FloatWeight(t.vocab(), t.width(), values.apply(head)) : matrix);
  }

  private static DecoderWeights.Layer layer(
      DecoderNames names,
      int layer,
      Function<String, float[]> values,
      Function<String, PackedWeight> packed) {
    Function<Parameter, PackedWeight> w = p -> packed.apply(names.of(layer, p));
    return new DecoderWeights.Layer(
        values.apply(names.of(layer, Parameter.NORM1)),
        PackedWeight.stack(
            w.apply(Parameter.QUERY), w.apply(Parameter.KEY), w.apply(Parameter.VALUE)),
        null,
        w.apply(Parameter.OUT),
        values.apply(names.of(layer, Parameter.NORM2)),
        PackedWeight.stack(w.apply(Parameter.GATE), w.apply(Parameter.UP)),
        w.apply(Parameter.DOWN));
  }
}
