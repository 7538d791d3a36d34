package io.gracebeam.worker.methods.family;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * A Hugging Face folder of a model, opened by the family that its config.json names.
 *
 * @param path the folder
 */
public record ModelFolder(Path path, ModelFamily family, ModelConfig config) {
  /**
   * Reads config.json.
   *
   * @throws GraceException data, where it is missing or wrong; user, where no family reads it
   */
  public static ModelFolder open(Path path) {
    ConfigFile file = ConfigFile.read(path);
    ModelFamily family = Families.find().get(file.modelType());
    return new ModelFolder(path, family, family.read(file));
  }

  /** Opens the weights, whatever form they have. */
  public Checkpoint checkpoint() {
    return Checkpoint.open(path, family.tensors());
  }

  /** All tensors by canonical name, in the order of the files. */
  public Map<String, Tensor> tensors() {
    return Checkpoint.load(path, family.tensors()).tensors();
  }

  /** Tokenizer, chat template and image processor; the caller's to close. */
  public InputMaker inputs() {
    return family.inputs(path, config);
  }

  /**
   * Opens dense weights and compares their shapes with config.json.
   *
   * @throws GraceException data, for anything that is missing or does not fit
   */
  public Checkpoint dense() {
    Checkpoint checkpoint = checkpoint();
    if (config.tied()) {
      checkpoint.requireEqual(config.names().head(), config.names().embedding());
    }
    for (ModelParameter parameter : config.parameters().all()) {
      long[] shape = checkpoint.shape(parameter.name());
      if (shape == null) {
        if (parameter.is(ModelParameter.Trait.OPTIONAL)) {
          continue;
        }
        throw GraceException.data(
            "the checkpoint lacks %s, which its config.json calls for", parameter.name());
      }
      if (!Arrays.equals(shape, parameter.shape())) {
        throw GraceException.data(
            "%s has shape %s; its config.json calls for %s",
            parameter.name(), Arrays.toString(shape), Arrays.toString(parameter.shape()));
      }
    }
    return checkpoint;
  }

  /**
   * Loads a dense folder, one tensor after the other. An embedding table that is not the head stays
   * in its file ({@link VisionLanguageModel#setTable}).
   *
   * @throws GraceException data, for anything wrong in the folder
   */
  public VisionLanguageModel load(EngineHandle engine) {
    Checkpoint checkpoint = dense();
    Set<String> inFile = config.tied() ? Set.of() : Set.of(config.names().embedding());
    VisionLanguageModel model =
        VisionLanguageModel.create(
            engine,
            config,
            name -> inFile.contains(name) ? null : values(checkpoint, name),
            inFile);
    try {
      for (String name : inFile) {
        model.setTable(checkpoint.rows(name));
      }
      return model;
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
  }

  /**
   * Loads a dense folder with everything in memory, and with {@link VisionLanguageModel#masters}.
   */
  public VisionLanguageModel loadForTraining(EngineHandle engine) {
    Checkpoint checkpoint = dense();
    Map<String, float[]> values = new HashMap<>();
    for (String name : config.parameters().names()) {
      values.put(name, values(checkpoint, name));
    }
    return VisionLanguageModel.createForTraining(engine, config, values);
  }

  private static float[] values(Checkpoint checkpoint, String name) {
    Tensor tensor = checkpoint.tensor(name);
    return tensor == null ? null : tensor.floats();
  }
}
