package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.checkpoint.TensorRows;
import io.gracebeam.worker.methods.model.ModelParameter.Trait;
import java.nio.file.Path;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.UnaryOperator;

/**
 * A vision-language model: vision tower and decoder of its family over their parameters, and the
 * passes that all families share. Everything is of the engine's compute type (what goes in and
 * comes out is float32) and differentiable; which parameters get gradients is the caller's choice
 * ({@code setRequiresGradient} on {@link #parameters}). Intermediate arrays are closed block by
 * block, so memory outside a gradient collector is that of one block. Not safe for concurrent use.
 */
public final class VisionLanguageModel implements AutoCloseable {
  private final ModelConfig config;
  private final ModelParameters layout;
  private final Weights weights;
  private final Map<String, float[]> masters = new HashMap<>();
  private PackedDecoder packed;
  private final Set<PackedDecoder> decoders = new HashSet<>();
  private int kvBits = 16;
  private NativeBlocks nativeBlocks; // null for the engine's operators
  private final VisionTower tower;
  private final Decoder decoder;
  private final InputChecks checks;

  private VisionLanguageModel(EngineHandle engine, ModelConfig config) {
    this.config = config;
    this.checks = new InputChecks(config);
    this.layout = config.parameters();
    this.weights = new Weights(engine, config, layout);
    this.tower = config.tower(weights);
    this.decoder = config.decoder(weights);
  }

  /** A model of given values, which become {@link #masters} and are overwritten by training. */
  public static VisionLanguageModel createForTraining(
      EngineHandle engine, ModelConfig config, Map<String, float[]> values) {
    VisionLanguageModel model = create(engine, config, values);
    model.parameters().keySet().forEach(name -> model.masters.put(name, values.get(name)));
    model.nativeBlocks = NativeBlocks.of(engine, model).orElse(null);
    return model;
  }

  /**
   * Makes a model of given values, by canonical name. Optional parameters may be missing; so may
   * the decoder's linears if a {@link Weights.Linear} is set for each before the first pass.
   */
  public static VisionLanguageModel create(
      EngineHandle engine, ModelConfig config, Map<String, float[]> values) {
    return create(engine, config, values::get, Set.of());
  }

  /**
   * Makes a model of values that are asked for one after the other.
   *
   * @param values gives null for what is missing
   * @param replaced further weights that may be missing, since a {@link Weights.Linear} will be set
   *     for each, or {@link #setTable} called for the embedding table
   */
  public static VisionLanguageModel create(
      EngineHandle engine,
      ModelConfig config,
      Function<String, float[]> values,
      Set<String> replaced) {
    VisionLanguageModel model = new VisionLanguageModel(engine, config);
    Set<String> absent = new LinkedHashSet<>(model.layout.linears(Part.DECODER));
    absent.addAll(replaced);
    try {
      for (ModelParameter parameter : model.layout.all()) {
        float[] data = values.apply(parameter.name());
        if (data != null) {
          model.weights.put(parameter, data);
        } else if (!parameter.is(Trait.OPTIONAL) && !absent.contains(parameter.name())) {
          throw GraceException.data("the values of %s are missing", parameter.name());
        }
      }
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
    return model;
  }

  /** Sizes, tokens and parameters. */
  public ModelConfig config() {
    return config;
  }

  /** What is known of the parameters. */
  public ModelParameters layout() {
    return layout;
  }

  /** Owner of the parameters; closed with the model. */
  public NDManager manager() {
    return weights.manager();
  }

  /** Parameters by canonical name, in canonical order. */
  public Map<String, NDArray> parameters() {
    return weights.all();
  }

  /**
   * Float32 values by name, live: what training changes, and what the engine's arrays, perhaps of a
   * narrower type, are rounded from. Empty unless made for training.
   */
  public Map<String, float[]> masters() {
    return Collections.unmodifiableMap(masters);
  }

  /** Names of parameters that no pass touches: they get no gradient. */
  public Set<String> unusedParameters() {
    Set<String> out = new LinkedHashSet<>(parameters().keySet());
    out.removeIf(name -> !layout.get(name).is(Trait.UNUSED));
    return out;
  }

  /** The decoder's linear weights, block by block. */
  public List<String> quantizableWeights() {
    return layout.linears(Part.DECODER);
  }

  /** Replaces the product with a linear weight; null restores the default x.matmul(W^T). */
  public void setLinear(String weightName, Weights.Linear linear) {
    weights.setLinear(weightName, linear);
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
   * @throws GraceException data, for a table of other sizes
   */
  public void setTable(TensorRows rows) {
    weights.setTable(rows);
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
   * @param owner of the result's arrays
   * @param batch with at least one wanted row
   * @throws GraceException data, where the placeholders do not fit the images' tokens, or an id is
   *     outside the vocabulary
   */
  public Forward forward(NDManager owner, Batch batch) {
    return pass(owner, batch, decoder::logits);
  }

  /**
   * A pass up to the head, for training; on the native kernels where they fit engine, processor and
   * batch.
   */
  public TrainingPass trainingPass(NDManager owner, Batch batch) {
    if (nativelyRun(batch)) {
      checks.batch(batch);
      return new NativePass(this, nativeBlocks, owner, batch, false);
    }
    Forward out = pass(owner, batch, decoder::norm);
    return new GraphPass(out.logits(), out.visualStates());
  }

  /**
   * A pass with the same gradients as {@link #trainingPass}, of which only what goes into each
   * decoder block is kept: the backward pass computes the blocks again (gradient checkpointing,
   * Chen et al., arXiv 1604.06174).
   */
  public TrainingPass checkpointedPass(NDManager owner, Batch batch) {
    checks.batch(batch);
    if (nativelyRun(batch)) {
      return new NativePass(this, nativeBlocks, owner, batch, true);
    }
    return new CheckpointedPass(this, owner, batch);
  }

  private boolean nativelyRun(Batch batch) {
    return nativeBlocks != null && weights.plain() && batch.positions().counting();
  }

  /** Turns {@link TrainingPass#rows} into logits; for models that replace no product there. */
  public RowHead head() {
    return new RowHead(
        weights.parameter(config.tied() ? config.names().embedding() : config.names().head()));
  }

  private Forward pass(NDManager owner, Batch batch, UnaryOperator<NDArray> end) {
    checks.batch(batch);
    Forward out;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray visual =
          batch.images().isEmpty() ? null : Ops.scoped(() -> visualRows(owner, batch.images()));
      out = decode(batch, visual, end);
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

  private Forward decode(Batch batch, NDArray visual, UnaryOperator<NDArray> end) {
    DecoderPass pass = new DecoderPass(this, batch);
    NDArray x = pass.embed(visual);
    int layers = config.text().layers();
    NDArray penultimate = null;
    for (int i = 0; i < layers; i++) {
      if (i == layers - 1 && visual != null) {
        penultimate = pass.visualStates(x);
      }
      NDArray in = x;
      x = pass.block(in, i, visual);
      in.close();
    }
    return new Forward(pass.rows(x, end), penultimate);
  }

  /**
   * A pass of the vision tower to pre-train it by; on the native kernels like {@link
   * #trainingPass}.
   *
   * @throws GraceException user, where the family's tower cannot be pre-trained
   */
  public VisionPass visionPass(NDManager owner, List<ModelImage> images) {
    if (nativeBlocks != null && weights.plain() && tower.nativeVision().isPresent()) {
      return new NativeTower(this, nativeBlocks, owner, images);
    }
    VisionTower.PatchFeatures patches = patchFeatures();
    NDArray out =
        Ops.scoped(() -> EngineArrays.cast(patches.features(owner, images), DataType.FLOAT32));
    out.attach(owner);
    return new GraphVisionPass(out);
  }

  /**
   * What the vision tower is pre-trained by.
   *
   * @throws GraceException user, where the family's tower cannot be pre-trained
   */
  public VisionTower.PatchFeatures patchFeatures() {
    return tower
        .patchFeatures()
        .orElseThrow(
            () ->
                GraceException.user(
                    "this model's vision tower cannot be pre-trained; allowed: 0 steps for it"));
  }

  /** Writes config.json and the weights as a dense float32 folder, without tokenizer files. */
  public void save(Path dir) {
    config.write(dir);
    SortedMap<String, Tensor> tensors = new TreeMap<>();
    parameters()
        .forEach(
            (name, array) ->
                tensors.put(name, Tensor.of(array.getShape().getShape(), array.toFloatArray())));
    if (weights.table() != null) {
      tensors.put(config.names().embedding(), weights.table().all());
    }
    CheckpointWriter.write(dir, tensors);
  }

  @Override
  public void close() {
    weights.close();
    useEngineBlocks();
    packed = null;
    decoders.forEach(PackedDecoder::close);
    decoders.clear();
  }

  /**
   * The tower's rows.
   *
   * @throws GraceException data, where they are not as many as the images have visual tokens
   */
  NDArray visualRows(NDManager owner, List<ModelImage> images) {
    NDArray rows = tower.rows(owner, images);
    checks.visualRows(rows, images, 1 + tower.deepRows());
    return rows;
  }

  VisionTower tower() {
    return tower;
  }

  Decoder decoder() {
    return decoder;
  }

  Weights weights() {
    return weights;
  }

  InputChecks checks() {
    return checks;
  }
}
