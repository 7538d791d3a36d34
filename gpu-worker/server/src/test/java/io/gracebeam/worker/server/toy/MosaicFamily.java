package io.gracebeam.worker.server.toy;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.checkpoint.TensorNaming;
import io.gracebeam.worker.methods.family.ConfigFile;
import io.gracebeam.worker.methods.family.ModelFamily;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.text.WordTokenizerBuilder;
import java.nio.file.Path;
import java.util.List;

/**
 * Images of any size, a visual token for each tile; positions of three axes; tensor names and a
 * conversation form of its own.
 */
public final class MosaicFamily implements ModelFamily {
  static final String TYPE = "mosaic";

  /** For the service loader. */
  public MosaicFamily() {}

  @Override
  public List<String> modelTypes() {
    return List.of(TYPE);
  }

  @Override
  public ModelConfig read(ConfigFile file) {
    JsonNode c = file.root();
    int heads = ConfigFile.integer(c, "heads");
    int width = ConfigFile.integer(c, "width");
    return new MosaicConfig(
        new DecoderSizes(
            ConfigFile.integer(c, "words"),
            width,
            ConfigFile.integer(c, "layers"),
            heads,
            heads,
            width / heads,
            ConfigFile.integer(c, "mlp"),
            512,
            1e-5,
            10000),
        ConfigFile.integer(c, "tile"),
        ConfigFile.integer(c, "vision"),
        c.path("deep").asBoolean(),
        c.path("tied").asBoolean());
  }

  @Override
  public TensorNaming tensors() {
    return TensorNaming.AS_IS;
  }

  @Override
  public InputMaker inputs(Path folder, ModelConfig config) {
    return new MosaicInputs(folder, (MosaicConfig) config);
  }

  @Override
  public ModelConfig start(ModelShape shape, List<String> texts, Path folder) {
    int words = WordTokenizerBuilder.write(folder, MosaicInputs.TEMPLATE, texts);
    return new MosaicConfig(
        new DecoderSizes(
            words,
            shape.getWidth(),
            shape.getLayers(),
            shape.getHeads(),
            shape.getHeads(),
            shape.getWidth() / shape.getHeads(),
            shape.getMlp(),
            512,
            1e-5,
            10000),
        shape.getPatchSize(),
        shape.getVisionWidth(),
        false,
        false);
  }
}
