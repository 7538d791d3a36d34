package io.gracebeam.worker.methods.family;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.checkpoint.TensorNaming;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.SpecialTokens;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * A family of vision-language models, found by {@link java.util.ServiceLoader}: it reads its
 * config.json, knows its tensors' names, and makes its inputs. All else, the model itself among it,
 * is the {@link ModelConfig} that it reads.
 */
public interface ModelFamily {
  /** The {@code model_type}s of config.json that it reads; the first is its name in recipes. */
  List<String> modelTypes();

  /**
   * Reads config.json.
   *
   * @throws GraceException data, for a key that is missing, wrong or not supported
   */
  ModelConfig read(ConfigFile file);

  /** How its tensors are named in files, in all spellings that are published. */
  TensorNaming tensors();

  /**
   * Opens tokenizer, chat template and image processor of a folder.
   *
   * @throws GraceException data, for files that are missing or do not fit the configuration
   */
  InputMaker inputs(Path folder, ModelConfig config);

  /**
   * Whether models of this family are made where a recipe does not say which; one family at most.
   */
  default boolean isDefault() {
    return false;
  }

  /**
   * The configuration of a model of some shape, to be trained from scratch.
   *
   * @param vocab size of the vocabulary
   * @throws GraceException user, where the family makes no models; data, for sizes that do not fit
   */
  default ModelConfig shaped(ModelShape shape, int vocab, SpecialTokens tokens) {
    throw GraceException.user(
        "models of the family %s cannot be made from scratch", modelTypes().getFirst());
  }

  /**
   * Writes tokenizer and image processor of a model that is trained from scratch, and gives its
   * configuration.
   *
   * @param texts all texts of the training data
   * @throws GraceException user, where the family makes no models; data, for sizes that do not fit
   */
  default ModelConfig start(ModelShape shape, List<String> texts, Path folder) {
    throw GraceException.user(
        "models of the family %s cannot be made from scratch", modelTypes().getFirst());
  }

  /** Sizes of published models by name, whose memory can be planned without their files. */
  default Map<String, ModelSizes> published() {
    return Map.of();
  }
}
