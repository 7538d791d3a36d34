package io.gracebeam.worker.methods.model;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;

/** A dense Hugging Face folder of a model. */
final class LlavaFolder {
  private LlavaFolder() {}

  /**
   * Opens a dense folder and compares its tensors' shapes with its config.json.
   *
   * @throws GraceException DATA for anything that is missing or does not fit
   */
  static Checkpoint open(LlavaConfig config, Path dir) {
    Checkpoint checkpoint = Checkpoint.open(dir);
    checkpoint.requireTied(config.tied());
    for (Map.Entry<String, long[]> entry : config.parameterShapes().entrySet()) {
      long[] shape = checkpoint.shape(entry.getKey());
      if (shape == null) {
        if (LlavaModel.optional(entry.getKey())) {
          continue;
        }
        throw GraceException.data(
            "the checkpoint lacks %s, which its config.json calls for", entry.getKey());
      }
      if (!Arrays.equals(shape, entry.getValue())) {
        throw GraceException.data(
            "%s has shape %s; its config.json calls for %s",
            entry.getKey(), Arrays.toString(shape), Arrays.toString(entry.getValue()));
      }
    }
    return checkpoint;
  }

  /** A tensor's values; null where there is none of the name. */
  static float[] values(Checkpoint checkpoint, String name) {
    Tensor tensor = checkpoint.tensor(name);
    return tensor == null ? null : tensor.floats();
  }
}
