package io.gracebeam.worker.methods.testing;

import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.Batch;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** Short ways to models of the first family, and batches of given tokens and pixels. */
public final class Llava {
  private Llava() {}

  /** config.json of a folder. */
  public static LlavaConfig config(Path folder) {
    return (LlavaConfig) ModelFolder.open(folder).config();
  }

  /** A model with its embedding table in its file. */
  public static VisionLanguageModel load(EngineHandle engine, Path folder) {
    return ModelFolder.open(folder).load(engine);
  }

  /** All tensors by canonical name. */
  public static Map<String, Tensor> tensors(Path folder) {
    return ModelFolder.open(folder).tensors();
  }

  /** Tokenizer, template and image processor of a folder. */
  public static InputMaker inputs(Path folder) {
    return ModelFolder.open(folder).inputs();
  }

  /** A sequence with one image from its first placeholder on; null pixels for none. */
  public static ModelInput input(LlavaConfig config, float[] pixels, long[] ids) {
    List<ModelInput.Placed> images = new ArrayList<>();
    for (int i = 0; i < ids.length && pixels != null && images.isEmpty(); i++) {
      if (ids[i] == config.imageToken()) {
        images.add(new ModelInput.Placed(config.image(pixels), i));
      }
    }
    return new ModelInput(ids, new boolean[ids.length], images, null, ids.length);
  }

  /** Sequences of equal length with one image each; the images' pixels lie behind each other. */
  public static Batch batch(LlavaConfig config, float[] pixels, long[][] ids, int[][] rows) {
    List<ModelInput> inputs = new ArrayList<>();
    int size = pixels.length / ids.length;
    for (int i = 0; i < ids.length; i++) {
      float[] own = Arrays.copyOfRange(pixels, i * size, (i + 1) * size);
      inputs.add(input(config, own, ids[i]));
    }
    return Batch.of(inputs, rows, Math.max(0, config.padToken()));
  }
}
