package io.gracebeam.worker.engine.libtorch;

import ai.djl.BaseModel;
import ai.djl.MalformedModelException;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.Trainer;
import ai.djl.training.TrainingConfig;
import ai.djl.training.initializer.Initializer;
import ai.djl.util.PairList;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.function.Predicate;

/** A DJL model of DJL's own blocks on this engine; it reads no files of torch's own format. */
final class LibTorchModel extends BaseModel {
  LibTorchModel(String name, LibTorchManager manager) {
    super(name);
    this.manager = manager;
    this.dataType = DataType.FLOAT32;
  }

  /** Parameters that {@link Model#save} wrote; the block is set beforehand. */
  @Override
  public void load(Path folder, String prefix, Map<String, ?> options)
      throws IOException, MalformedModelException {
    setModelDir(folder);
    wasLoaded = true;
    if (block == null) {
      throw new UnsupportedOperationException(
          "LibTorch loads parameters into a block: set it first");
    }
    loadBlock(prefix, options);
    if (!readParameters(paramPathResolver(prefix == null ? modelName : prefix, options), options)) {
      throw new MalformedModelException("no parameters of " + modelName + " in " + folder);
    }
  }

  @Override
  public Trainer newTrainer(TrainingConfig config) {
    PairList<Initializer, Predicate<ai.djl.nn.Parameter>> initializers = config.getInitializers();
    if (block == null) {
      throw new IllegalStateException(
          "You must set a block for the model before creating a trainer");
    }
    if (!wasLoaded) {
      for (var pair : initializers) {
        if (pair.getKey() != null && pair.getValue() != null) {
          block.setInitializer(pair.getKey(), pair.getValue());
        }
      }
    }
    return new Trainer(this, config);
  }

  @Override
  public String[] getArtifactNames() {
    return new String[0];
  }
}
