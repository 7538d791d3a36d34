package io.gracebeam.worker.methods.export;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.PackedMatrix;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.model.LlavaModel;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Opens deployed folders: a pack-quantized one computes its decoder linears on the packed words, a
 * dense one as it is.
 */
public final class PackedModel {
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
    Map<String, PackedWeight> packed = packedWeights(folder, tensors);
    Map<String, float[]> values = new HashMap<>();
    tensors.forEach(
        (name, t) -> {
          if (config.parameterShapes().containsKey(name) && !packed.containsKey(name)) {
            values.put(name, t.floats());
          }
        });
    LlavaModel model = LlavaModel.create(engine, config, values);
    packed.forEach((name, w) -> model.setLinear(name, new Packed(w)));
    return model;
  }

  /** The packed weights of a folder, by the name of the weight they stand for. */
  static Map<String, PackedWeight> packedWeights(Path folder, Map<String, Tensor> tensors) {
    Scheme scheme = Scheme.read(folder);
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
        out.put(
            name,
            new PackedWeight(
                scheme.bits(),
                scheme.group(cols),
                rows,
                cols,
                e.getValue().ints(),
                scale.floats()));
      } catch (IllegalArgumentException | ArithmeticException x) {
        throw GraceException.data("%s: %s", name, x.getMessage()).withCause(x);
      }
    }
    return out;
  }

  /** A product with a packed weight, on the kernels of this process. */
  private static final class Packed implements LlavaModel.Linear {
    private final PackedMatrix matrix;
    private final int rows;
    private final int cols;

    Packed(PackedWeight w) {
      this.matrix = KernelProvider.best().open(w);
      this.rows = w.rows();
      this.cols = w.cols();
    }

    @Override
    public NDArray apply(NDArray x) {
      float[] in = x.toFloatArray();
      int m = in.length / cols;
      float[] y = new float[m * rows];
      matrix.multiply(in, m, y);
      long[] shape = x.getShape().getShape().clone();
      shape[shape.length - 1] = rows;
      return EngineArrays.of(x.getManager(), y, new Shape(shape), x.getDataType());
    }

    @Override
    public void close() {
      matrix.close();
    }
  }
}
