package io.gracebeam.worker.methods.family.llava;

import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.checkpoint.TensorNaming;
import io.gracebeam.worker.methods.family.ConfigFile;
import io.gracebeam.worker.methods.family.ModelFamily;
import io.gracebeam.worker.methods.family.ModelSizes;
import io.gracebeam.worker.methods.image.ImageProcessor;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.SpecialTokens;
import io.gracebeam.worker.methods.text.WordTokenizerBuilder;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** LLaVA-1.5. */
public final class LlavaFamily implements ModelFamily {
  /** For the service loader. */
  public LlavaFamily() {}

  @Override
  public List<String> modelTypes() {
    return List.of("llava");
  }

  @Override
  public ModelConfig read(ConfigFile file) {
    return LlavaConfigFile.read(file);
  }

  @Override
  public TensorNaming tensors() {
    return TensorNames::pieces;
  }

  @Override
  public InputMaker inputs(Path folder, ModelConfig config) {
    return new LlavaInputs(folder, (LlavaConfig) config);
  }

  @Override
  public boolean isDefault() {
    return true;
  }

  @Override
  public ModelConfig shaped(ModelShape shape, int vocab, SpecialTokens tokens) {
    return LlavaConfig.of(shape, vocab, tokens);
  }

  @Override
  public ModelConfig start(ModelShape shape, List<String> texts, Path folder) {
    int vocab = WordTokenizerBuilder.write(folder, LlavaInputs.TEMPLATE_WORDS, texts);
    ImageProcessor.writeConfig(folder, "LlavaProcessor", shape.getImageSize());
    return shaped(
        shape,
        vocab,
        new SpecialTokens(
            WordTokenizerBuilder.IMAGE_TOKEN,
            WordTokenizerBuilder.BOS,
            Set.of(WordTokenizerBuilder.EOS),
            WordTokenizerBuilder.PAD));
  }

  @Override
  public Map<String, ModelSizes> published() {
    LlavaConfig config =
        new LlavaConfig(
            new LlavaConfig.Vision(336, 14, 1024, 24, 16, 4096, 768, 1e-5),
            new DecoderSizes(32064, 4096, 32, 32, 32, 128, 11008, 4096, 1e-5, 10000),
            32000,
            576,
            -2,
            true,
            1,
            2,
            32001,
            true,
            false);
    return Map.of("llava-1.5-7b", ModelSizes.of(config, 16));
  }
}
