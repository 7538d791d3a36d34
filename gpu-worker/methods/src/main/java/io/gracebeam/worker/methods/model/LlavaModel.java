package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.checkpoint.TensorRows;
import java.nio.file.Path;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.UnaryOperator;

/**
 * LLaVA-1.5 as plain functions over its parameters: CLIP tower, projector, LLaMA decoder.
 * Everything is of the engine's compute type (what goes in and comes out is float32) and
 * differentiable; which parameters get gradients is the caller's choice (`setRequiresGradient` on
 * {@link #parameters}). Intermediate arrays are closed block by block, so memory outside a gradient
 * collector is that of one block. Not safe for concurrent use.
 */
public final class LlavaModel implements AutoCloseable {
  /** What stands for x [..., in] times weight [out, in] transposed. */
  @FunctionalInterface
  public interface Linear extends AutoCloseable {
    /** x [..., in] to a new array [..., out]. Arrays made inside are closed soon after the call. */
    NDArray apply(NDArray x);

    /** Called once, when it is replaced or the model is closed. */
    @Override
    default void close() {}
  }

  private final LlavaConfig config;
  private final NDManager manager;
  private final DataType compute;
  private final Map<String, NDArray> parameters = new LinkedHashMap<>();
  private final Map<String, float[]> masters = new HashMap<>();
  private final Map<String, Linear> linears = new HashMap<>();
  private PackedDecoder packed;
  private final Set<PackedDecoder> decoders = new HashSet<>();
  private TensorRows table;
  private int kvBits = 16;
  private NativeBlocks nativeBlocks; // null for the engine's operators
  private final VisionTower tower;
  private final Decoder decoder;
  private final InputChecks checks;

  private LlavaModel(EngineHandle engine, LlavaConfig config) {
    this.config = config;
    this.checks = new InputChecks(config);
    this.manager = engine.engine().newBaseManager(engine.device());
    this.tower = new VisionTower(config, this::parameter, this::applyDense);
    this.compute = engine.compute();
    this.decoder =
        new Decoder(config, manager, compute, this::parameter, this::applyLinear, this::lookUp);
  }

  /**
   * Loads a dense Hugging Face folder, one tensor after the other. A table of embeddings that is
   * not the head stays in its file ({@link #setTable}).
   *
   * @throws GraceException DATA for anything wrong in the folder
   */
  public static LlavaModel load(EngineHandle engine, Path dir) {
    LlavaConfig config = LlavaConfig.read(dir);
    Checkpoint checkpoint = LlavaFolder.open(config, dir);
    Set<String> inFile = config.tied() ? Set.of() : Set.of(Decoder.EMBEDDING);
    LlavaModel model =
        create(
            engine,
            config,
            name -> inFile.contains(name) ? null : LlavaFolder.values(checkpoint, name),
            inFile);
    try {
      if (!config.tied()) {
        model.setTable(checkpoint.rows(Decoder.EMBEDDING));
      }
      return model;
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
  }

  /** The same with everything in memory, and with {@link #masters}. */
  public static LlavaModel loadForTraining(EngineHandle engine, Path dir) {
    LlavaConfig config = LlavaConfig.read(dir);
    Checkpoint checkpoint = LlavaFolder.open(config, dir);
    Map<String, float[]> values = new HashMap<>();
    for (String name : config.parameterShapes().keySet()) {
      values.put(name, LlavaFolder.values(checkpoint, name));
    }
    return createForTraining(engine, config, values);
  }

  /** {@link #create}, with the given values as {@link #masters}, which training overwrites. */
  public static LlavaModel createForTraining(
      EngineHandle engine, LlavaConfig config, Map<String, float[]> values) {
    LlavaModel model = create(engine, config, values);
    model.parameters.keySet().forEach(name -> model.masters.put(name, values.get(name)));
    model.nativeBlocks = NativeBlocks.of(engine, model).orElse(null);
    return model;
  }

  /**
   * Makes a model of given values, by canonical name. Optional ones (the tower's unused last norm)
   * may be missing; so may the decoder's linears if a {@link Linear} is set for each before the
   * first pass.
   */
  public static LlavaModel create(
      EngineHandle engine, LlavaConfig config, Map<String, float[]> values) {
    return create(engine, config, values::get, Set.of());
  }

  /**
   * The same.
   *
   * @param values asked for one after the other; null for what is missing
   * @param replaced further weights that may be missing, since a {@link Linear} will be set for
   *     each, or {@link #setTable} called for the table of embeddings
   */
  public static LlavaModel create(
      EngineHandle engine,
      LlavaConfig config,
      Function<String, float[]> values,
      Set<String> replaced) {
    LlavaModel model = new LlavaModel(engine, config);
    Set<String> absent = new LinkedHashSet<>(model.quantizableWeights());
    absent.addAll(replaced);
    try {
      for (Map.Entry<String, long[]> entry : config.parameterShapes().entrySet()) {
        float[] data = values.apply(entry.getKey());
        if (data == null) {
          if (optional(entry.getKey()) || absent.contains(entry.getKey())) {
            continue;
          }
          throw GraceException.data("the values of %s are missing", entry.getKey());
        }
        Shape shape = new Shape(entry.getValue());
        if (shape.size() != data.length) {
          throw GraceException.data(
              "%s has %d values; shape %s calls for %d",
              entry.getKey(), data.length, shape, shape.size());
        }
        NDArray array = EngineArrays.of(model.manager, data, shape, model.compute);
        NDScope.unregister(array);
        array.setName(entry.getKey());
        model.parameters.put(entry.getKey(), array);
      }
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
    return model;
  }

  /** Sizes and switches. */
  public LlavaConfig config() {
    return config;
  }

  /** Owner of the parameters; closed with the model. */
  public NDManager manager() {
    return manager;
  }

  /** Parameters by canonical name, in canonical order. */
  public Map<String, NDArray> parameters() {
    return Collections.unmodifiableMap(parameters);
  }

  /**
   * Float32 values by name, live: what training changes, and what the engine's arrays, perhaps of a
   * narrower type, are rounded from. Empty unless made for training.
   */
  public Map<String, float[]> masters() {
    return Collections.unmodifiableMap(masters);
  }

  /** Type of the parameters' arrays and of what is computed with them. */
  DataType compute() {
    return compute;
  }

  /**
   * Names of parameters that no pass touches (tower blocks behind the feature layer, its last
   * norm): they get no gradient.
   */
  public Set<String> unusedParameters() {
    Set<String> out = new LinkedHashSet<>();
    for (String name : parameters.keySet()) {
      if (optional(name)) {
        out.add(name);
      }
      for (int i = config.visionBlocks(); i < config.vision().layers(); i++) {
        if (name.startsWith("vision_tower.vision_model.encoder.layers." + i + ".")) {
          out.add(name);
        }
      }
    }
    return out;
  }

  /** The decoder's q, k, v, o, gate, up and down weights, block by block. */
  public List<String> quantizableWeights() {
    return config.parameterShapes().keySet().stream()
        .filter(name -> Part.of(name).equals(Optional.of(Part.DECODER)))
        .toList();
  }

  /**
   * Replaces the product with the weight of a {@link Part}; null restores the default
   * x.matmul(W^T).
   */
  public void setLinear(String weightName, Linear linear) {
    if (!config.parameterShapes().containsKey(weightName) || Part.of(weightName).isEmpty()) {
      throw GraceException.bug("%s is not a replaceable linear weight", weightName);
    }
    Linear old = linear == null ? linears.remove(weightName) : linears.put(weightName, linear);
    if (old != null) {
      old.close();
    }
  }

  /**
   * Lets generation run on a packed decoder, which is closed with the model and not before, since
   * linears may be its weights; null for the engine, which caches keys and values in its compute
   * type.
   *
   * @param kvBits bits of a cached key or value: 16 or 8
   */
  public void setPacked(PackedDecoder decoder, int kvBits) {
    if (decoder != null) {
      decoders.add(decoder);
    }
    packed = decoder;
    this.kvBits = kvBits;
  }

  /** Lets training run on the engine's operators alone, wherever it is. */
  public void useEngineBlocks() {
    if (nativeBlocks != null) {
      nativeBlocks.close();
      nativeBlocks = null;
    }
  }

  /** Whether training runs on the native kernels' blocks. */
  public boolean usesNativeBlocks() {
    return nativeBlocks != null;
  }

  /** Bytes that native blocks keep from one pass of training to the next; 0 without them. */
  public long heldBytes() {
    return nativeBlocks == null ? 0 : nativeBlocks.heldBytes();
  }

  /**
   * Lets embeddings be looked up in a table [vocab, width] that stays in its file; it is closed
   * when it is replaced or the model is closed. Null for the parameter.
   *
   * @throws GraceException DATA for a table of other sizes
   */
  public void setTable(TensorRows rows) {
    if (rows != null && (rows.rows() != config.vocab() || rows.cols() != config.text().width())) {
      rows.close();
      throw GraceException.data(
          "the table of embeddings is %d x %d; its config.json calls for %d x %d",
          rows.rows(), rows.cols(), config.vocab(), config.text().width());
    }
    if (table != null) {
      table.close();
    }
    table = rows;
  }

  /** Bits of the packed decoder's cached keys and values. */
  int kvBits() {
    return kvBits;
  }

  /** What generation runs on; null for the engine. */
  PackedDecoder packed() {
    return packed;
  }

  /**
   * One pass.
   *
   * @param pixels [B, 3, H, W], one image per example; null if no example has one
   * @param ids [B][S], right padded, each image as imageTokens placeholders
   * @param rows per example the positions (in its sequence) whose next-token logits are wanted; at
   *     least one in all
   * @throws GraceException DATA where the placeholders do not fit the image's tokens, or an id is
   *     outside the vocabulary
   */
  public Forward forward(NDArray pixels, long[][] ids, int[][] rows) {
    return pass(pixels, ids, rows, decoder::head);
  }

  /**
   * The same up to the head, for training; on the native kernels where they fit engine and
   * processor.
   */
  public TrainingPass trainingPass(NDArray pixels, long[][] ids, int[][] rows) {
    if (nativeBlocks != null && linears.isEmpty()) {
      return new NativePass(this, nativeBlocks, checks.inputs(pixels, ids, rows), pixels, false);
    }
    Forward out = pass(pixels, ids, rows, decoder::norm);
    return new GraphPass(out.logits(), out.visualStates());
  }

  /**
   * The same with the same gradients, of which only what goes into each decoder block is kept: the
   * backward pass computes the blocks again (Chen et al., arXiv 1604.06174).
   */
  public TrainingPass checkpointedPass(NDArray pixels, long[][] ids, int[][] rows) {
    if (nativeBlocks != null && linears.isEmpty()) {
      return new NativePass(this, nativeBlocks, checks.inputs(pixels, ids, rows), pixels, true);
    }
    return new CheckpointedPass(this, checks.inputs(pixels, ids, rows), pixels);
  }

  /**
   * What turns {@link TrainingPass#rows} into logits; for models without a {@link Linear} there.
   */
  public RowHead head() {
    return new RowHead(parameter(config.tied() ? Decoder.EMBEDDING : Decoder.HEAD));
  }

  private Forward pass(NDArray pixels, long[][] ids, int[][] rows, UnaryOperator<NDArray> end) {
    InputIds inputs = checks.inputs(pixels, ids, rows);
    NDManager owner = pixels == null ? manager : pixels.getManager();
    Forward out;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray visual = pixels == null ? null : Ops.scoped(() -> visualRows(pixels));
      out = decode(inputs, visual, end);
      NDScope.unregister(out.logits());
      out.logits().attach(owner);
      if (out.visualStates() != null) {
        NDScope.unregister(out.visualStates());
        out.visualStates().attach(owner);
      }
    }
    NDScope.register(out.logits());
    if (out.visualStates() != null) {
      NDScope.register(out.visualStates());
    }
    return out;
  }

  /**
   * States of the feature layer: pixels [B, 3, H, W] -> [B, n, dv], owned by the manager of the
   * pixels.
   */
  public NDArray visionFeatures(NDArray pixels) {
    checks.pixels(pixels);
    NDArray out = Ops.scoped(() -> EngineArrays.cast(tower.features(pixels), DataType.FLOAT32));
    out.attach(pixels.getManager());
    return out;
  }

  /** The same to train the tower by; on the native kernels like {@link #trainingPass}. */
  public VisionPass visionPass(NDArray pixels) {
    checks.pixels(pixels);
    if (nativeBlocks != null && linears.isEmpty()) {
      return new NativeTower(this, nativeBlocks, pixels);
    }
    return new GraphVisionPass(visionFeatures(pixels));
  }

  /**
   * Writes config.json and the weights as a dense float32 folder; tokenizer and processor files are
   * the caller's.
   */
  public void save(Path dir) {
    config.write(dir);
    SortedMap<String, Tensor> tensors = new TreeMap<>();
    parameters.forEach(
        (name, array) ->
            tensors.put(name, Tensor.of(array.getShape().getShape(), array.toFloatArray())));
    if (table != null) {
      tensors.put(Decoder.EMBEDDING, table.all());
    }
    CheckpointWriter.write(dir, tensors);
  }

  @Override
  public void close() {
    linears.values().forEach(Linear::close);
    linears.clear();
    useEngineBlocks();
    packed = null;
    decoders.forEach(PackedDecoder::close);
    decoders.clear();
    setTable(null);
    manager.close();
  }

  /** Decoder inputs of the images: [B, 3, H, W] -> [B * n, d]. */
  NDArray visualRows(NDArray pixels) {
    return projected(tower.features(pixels));
  }

  /** Decoder inputs of the tower's features: [B, n, dv] -> [B * n, d]. */
  NDArray projected(NDArray features) {
    return tower.project(features).reshape(-1, config.text().width());
  }

  VisionTower tower() {
    return tower;
  }

  Decoder decoder() {
    return decoder;
  }

  InputChecks checks() {
    return checks;
  }

  private Forward decode(InputIds inputs, NDArray visual, UnaryOperator<NDArray> end) {
    DecoderPass pass = new DecoderPass(this, inputs);
    NDArray x = pass.embed(visual);
    int layers = config.text().layers();
    NDArray penultimate = null;
    for (int i = 0; i < layers; i++) {
      if (i == layers - 1 && visual != null) {
        penultimate = pass.visualStates(x);
      }
      NDArray in = x;
      x = pass.block(in, i);
      in.close();
    }
    return new Forward(pass.rows(x, end), penultimate);
  }

  private NDArray applyLinear(String name, NDArray x) {
    Linear linear = linears.get(name);
    return linear == null ? Ops.linear(x, parameter(name), null) : linear.apply(x);
  }

  /** Embeddings of tokens [count] -> [count, width]. */
  private NDArray lookUp(long[] tokens) {
    if (table == null) {
      return Ops.rows(manager, parameter(Decoder.EMBEDDING), tokens);
    }
    int width = config.text().width();
    float[] out = new float[Math.multiplyExact(tokens.length, width)];
    for (int i = 0; i < tokens.length; i++) {
      table.row((int) tokens[i], out, i * width);
    }
    return EngineArrays.of(manager, out, new Shape(tokens.length, width), compute);
  }

  private NDArray applyDense(String name, NDArray x, boolean biased) {
    Linear linear = linears.get(name + ".weight");
    NDArray bias = biased ? parameter(name + ".bias") : null;
    if (linear == null) {
      return Ops.linear(x, parameter(name + ".weight"), bias);
    }
    NDArray y = linear.apply(x);
    return bias == null ? y : y.add(bias);
  }

  private NDArray parameter(String name) {
    NDArray array = parameters.get(name);
    if (array == null) {
      throw GraceException.bug("the model has neither values nor a replacement of %s", name);
    }
    return array;
  }

  static boolean optional(String name) {
    return name.startsWith("vision_tower.vision_model.post_layernorm.");
  }
}
