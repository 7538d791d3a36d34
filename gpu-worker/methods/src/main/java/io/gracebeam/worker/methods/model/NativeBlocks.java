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
  private final VisionLanguageModel model;
  private final TrainingBlocks kernels;
  private final int towerBlocks;
  private final Rope frequencies;
  private Arena arena = Arena.ofShared();
  private MemorySegment rope = MemorySegment.NULL;

  private NativeBlocks(VisionLanguageModel model, TrainingBlocks kernels) {
    this.model = model;
    this.kernels = kernels;
    this.towerBlocks = model.tower().nativeVision().map(VisionTower.NativeVision::blocks).orElse(0);
    this.frequencies = model.decoder().rope();
  }

  /**
   * Those of a model; empty where decoder, engine, compute type or processor do not fit, or a block
   * of the decoder is given visual rows of its own.
   */
  static Optional<NativeBlocks> of(EngineHandle engine, VisionLanguageModel model) {
    boolean fit =
        engine.compute() == DataType.BFLOAT16
            && EngineArrays.ownKernels(engine)
            && TrainingBlocks.present()
            && model.tower().deepRows() == 0
            && model.decoder().nativeBlock(0).isPresent();
    return fit
        ? Optional.of(new NativeBlocks(model, new TrainingBlocks(engine.threads())))
        : Optional.empty();
  }

  /** One block of the model. */
  final class Block {
    private final Sizes sizes;
    private final int number;
    private final Map<Parameter, NDArray> parameters = new EnumMap<>(Parameter.class);

    private Block(NativeBlock block, int number) {
      this.sizes = block.sizes();
      this.number = number;
      block
          .names()
          .forEach((parameter, name) -> parameters.put(parameter, model.parameters().get(name)));
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
    NativeBlock block = model.decoder().nativeBlock(layer).orElseThrow();
    return new Block(block, shared ? towerBlocks : towerBlocks + layer);
  }

  /** A block of the vision tower. */
  Block tower(int layer) {
    return new Block(model.tower().nativeVision().orElseThrow().block(layer), layer);
  }

  /** Bytes that are kept from call to call. */
  long heldBytes() {
    return kernels.heldBytes();
  }

  /** The table of the last length. */
  private MemorySegment rope(int length) {
    long bytes = 8L * length * frequencies.inverse().length;
    if (rope.byteSize() != bytes) {
      arena.close();
      arena = Arena.ofShared();
      rope = TrainingBlocks.rope(arena, frequencies.inverse(), length);
    }
    return rope;
  }

  @Override
  public void close() {
    kernels.close();
    arena.close();
  }
}
