package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.TrainingBlocks;
import io.gracebeam.worker.kernels.TrainingBlocks.Kind;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.kernels.TrainingBlocks.Shape;
import io.gracebeam.worker.kernels.TrainingBlocks.Sizes;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Map;
import java.util.Optional;

/**
 * A model's blocks in training on the native kernels. Inputs, outputs and parameters are the
 * engine's bfloat16 arrays; parameters that want a gradient get a float32 one.
 */
final class NativeBlocks implements AutoCloseable {
  private final LlavaModel model;
  private final TrainingBlocks kernels;
  private final Sizes decoder;
  private final Sizes tower;
  private Arena arena = Arena.ofShared();
  private MemorySegment rope = MemorySegment.NULL;

  private NativeBlocks(LlavaModel model, TrainingBlocks kernels) {
    LlavaConfig.Text t = model.config().text();
    LlavaConfig.Vision v = model.config().vision();
    this.model = model;
    this.kernels = kernels;
    this.decoder =
        new Sizes(
            Kind.LLAMA, t.width(), t.heads(), t.kvHeads(), t.headDim(), t.mlp(), (float) t.eps());
    this.tower =
        new Sizes(
            Kind.CLIP,
            v.width(),
            v.heads(),
            v.heads(),
            v.width() / v.heads(),
            v.mlp(),
            (float) v.eps());
  }

  /** Those of a model; empty where engine, compute type or processor do not fit. */
  static Optional<NativeBlocks> of(EngineHandle engine, LlavaModel model) {
    boolean fit =
        engine.compute() == DataType.BFLOAT16
            && EngineArrays.ownKernels(engine)
            && TrainingBlocks.present();
    return fit
        ? Optional.of(new NativeBlocks(model, new TrainingBlocks(engine.threads())))
        : Optional.empty();
  }

  /** One block of the model. */
  final class Block {
    private final Sizes sizes;
    private final int number;
    private final Map<Parameter, NDArray> parameters = new EnumMap<>(Parameter.class);

    private Block(Sizes sizes, int number) {
      this.sizes = sizes;
      this.number = number;
    }

    private Block with(Parameter parameter, String name) {
      parameters.put(parameter, model.parameters().get(name));
      return this;
    }

    /** x [B, S, d] to a new array of the same shape; keeps what {@link #backward} needs. */
    NDArray forward(NDArray x) {
      NDArray y = x.getManager().create(x.getShape(), x.getDataType());
      kernels.forward(block(x), EngineArrays.address(x), EngineArrays.address(y), number);
      return y;
    }

    /**
     * Adds to the parameters' gradients and gives the gradient with respect to x, which is the x
     * that was given last.
     */
    NDArray backward(NDArray x, NDArray dY) {
      NDArray dX = x.getManager().create(x.getShape(), x.getDataType());
      long[] gradients = new long[Parameter.values().length];
      parameters.forEach(
          (parameter, array) ->
              gradients[parameter.ordinal()] = EngineArrays.gradientAddress(array));
      kernels.backward(
          block(x),
          EngineArrays.address(x),
          EngineArrays.address(dY),
          EngineArrays.address(dX),
          gradients,
          number);
      return dX;
    }

    private TrainingBlocks.Block block(NDArray x) {
      long[] addresses = new long[Parameter.values().length];
      parameters.forEach((p, array) -> addresses[p.ordinal()] = EngineArrays.address(array));
      int length = (int) x.getShape().get(1);
      return new TrainingBlocks.Block(
          new Shape(sizes, (int) x.getShape().get(0), length),
          addresses,
          sizes.kind() == Kind.LLAMA ? rope(length) : null);
    }
  }

  /**
   * A block of the decoder.
   *
   * @param shared whether it keeps its state where all such blocks do
   */
  Block decoder(int layer, boolean shared) {
    String name = Decoder.MODEL + "layers." + layer + ".";
    int first = model.config().visionBlocks();
    return new Block(decoder, shared ? first : first + layer)
        .with(Parameter.NORM1, name + "input_layernorm.weight")
        .with(Parameter.QUERY, name + "self_attn.q_proj.weight")
        .with(Parameter.KEY, name + "self_attn.k_proj.weight")
        .with(Parameter.VALUE, name + "self_attn.v_proj.weight")
        .with(Parameter.OUT, name + "self_attn.o_proj.weight")
        .with(Parameter.NORM2, name + "post_attention_layernorm.weight")
        .with(Parameter.GATE, name + "mlp.gate_proj.weight")
        .with(Parameter.UP, name + "mlp.up_proj.weight")
        .with(Parameter.DOWN, name + "mlp.down_proj.weight");
  }

  /** A block of the vision tower. */
  Block tower(int layer) {
    String name = VisionTower.TOWER + "encoder.layers." + layer + ".";
    return new Block(tower, layer)
        .with(Parameter.NORM1, name + "layer_norm1.weight")
        .with(Parameter.NORM1_BIAS, name + "layer_norm1.bias")
        .with(Parameter.QUERY, name + "self_attn.q_proj.weight")
        .with(Parameter.QUERY_BIAS, name + "self_attn.q_proj.bias")
        .with(Parameter.KEY, name + "self_attn.k_proj.weight")
        .with(Parameter.KEY_BIAS, name + "self_attn.k_proj.bias")
        .with(Parameter.VALUE, name + "self_attn.v_proj.weight")
        .with(Parameter.VALUE_BIAS, name + "self_attn.v_proj.bias")
        .with(Parameter.OUT, name + "self_attn.out_proj.weight")
        .with(Parameter.OUT_BIAS, name + "self_attn.out_proj.bias")
        .with(Parameter.NORM2, name + "layer_norm2.weight")
        .with(Parameter.NORM2_BIAS, name + "layer_norm2.bias")
        .with(Parameter.UP, name + "mlp.fc1.weight")
        .with(Parameter.UP_BIAS, name + "mlp.fc1.bias")
        .with(Parameter.DOWN, name + "mlp.fc2.weight")
        .with(Parameter.DOWN_BIAS, name + "mlp.fc2.bias");
  }

  /** Bytes that are kept from call to call. */
  long heldBytes() {
    return kernels.heldBytes();
  }

  /** The table of the last length. */
  private MemorySegment rope(int length) {
    long bytes = 4L * length * decoder.headDim();
    if (rope.byteSize() != bytes) {
      arena.close();
      arena = Arena.ofShared();
      rope = TrainingBlocks.rope(arena, model.decoder().inverseFrequencies(), length);
    }
    return rope;
  }

  @Override
  public void close() {
    kernels.close();
    arena.close();
  }
}
