package io.gracebeam.worker.server.toy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.methods.family.ConfigFile;
import io.gracebeam.worker.methods.model.Decoder;
import io.gracebeam.worker.methods.model.DecoderNames;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.LlamaDecoder;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.ModelParameter.Place;
import io.gracebeam.worker.methods.model.ModelParameter.Start;
import io.gracebeam.worker.methods.model.ModelParameter.Trait;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.model.Rope;
import io.gracebeam.worker.methods.model.SpecialTokens;
import io.gracebeam.worker.methods.model.VisionTower;
import io.gracebeam.worker.methods.model.Weights;
import io.gracebeam.worker.methods.text.WordTokenizerBuilder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Sizes of a mosaic model.
 *
 * @param tile side of a tile in pixels
 * @param vision width inside the tower
 * @param deep whether the tower gives rows for behind the first decoder block too
 */
record MosaicConfig(DecoderSizes text, int tile, int vision, boolean deep, boolean tied)
    implements ModelConfig {
  private static final DecoderNames NAMES =
      new DecoderNames("words.table", "stack.end.gain", "voice.weight", "stack.%d/", inBlock());

  private static Map<Parameter, String> inBlock() {
    Map<Parameter, String> out = new EnumMap<>(Parameter.class);
    out.put(Parameter.NORM1, "look.gain");
    out.put(Parameter.QUERY, "ask.weight");
    out.put(Parameter.KEY, "offer.weight");
    out.put(Parameter.VALUE, "tell.weight");
    out.put(Parameter.OUT, "mix.weight");
    out.put(Parameter.NORM2, "think.gain");
    out.put(Parameter.GATE, "door.weight");
    out.put(Parameter.UP, "wide.weight");
    out.put(Parameter.DOWN, "narrow.weight");
    return out;
  }

  @Override
  public SpecialTokens tokens() {
    return new SpecialTokens(
        WordTokenizerBuilder.IMAGE_TOKEN,
        WordTokenizerBuilder.BOS,
        Set.of(WordTokenizerBuilder.EOS),
        WordTokenizerBuilder.PAD);
  }

  @Override
  public ModelConfig untied() {
    return new MosaicConfig(text, tile, vision, deep, false);
  }

  @Override
  public DecoderNames names() {
    return NAMES;
  }

  /** Numbers of a tile's pixels. */
  int tileSize() {
    return 3 * tile * tile;
  }

  @Override
  public ModelParameters parameters() {
    List<ModelParameter> out = new ArrayList<>();
    long d = text.width();
    out.add(linear("eye.weight", Place.of(Part.VISION), vision, tileSize(), null));
    int rows = deep ? 2 : 1;
    out.add(linear("bridge.weight", Place.of(Part.PROJECTOR), rows * d, vision, null));
    Start half = Start.normal(0.5);
    out.add(plain("words.table", Place.of(Part.EMBEDDING), half, text.vocab(), d));
    for (int i = 0; i < text.layers(); i++) {
      Place place = Place.of(Part.DECODER, i);
      for (Map.Entry<Parameter, String> e : NAMES.block(i).entrySet()) {
        out.add(
            switch (e.getKey()) {
              case NORM1, NORM2 -> plain(e.getValue(), place, Start.ONE, d);
              case GATE, UP -> linear(e.getValue(), place, text.mlp(), d, Parameter.NORM2);
              case DOWN -> linear(e.getValue(), place, d, text.mlp(), Parameter.UP);
              case OUT -> linear(e.getValue(), place, d, d, Parameter.VALUE);
              default -> linear(e.getValue(), place, d, d, Parameter.NORM1);
            });
      }
    }
    out.add(plain("stack.end.gain", Place.of(Part.DECODER), Start.ONE, d));
    if (!tied) {
      out.add(linear("voice.weight", Place.of(Part.HEAD), text.vocab(), d, null));
    }
    return new ModelParameters(out);
  }

  private static ModelParameter plain(String name, Place place, Start start, long... shape) {
    return new ModelParameter(name, shape, place, start, Set.of(), Optional.empty());
  }

  private static ModelParameter linear(
      String name, Place place, long rows, long cols, Parameter before) {
    Optional<String> input = Optional.ofNullable(before).map(b -> NAMES.of(place.block(), b));
    long[] shape = {rows, cols};
    return new ModelParameter(name, shape, place, Start.linear(cols), Set.of(Trait.LINEAR), input);
  }

  @Override
  public boolean servedByPackedDecoder() {
    return !deep;
  }

  @Override
  public QuantTarget target(Part part) {
    return switch (part) {
      case DECODER -> new QuantTarget("Linear", List.of());
      case HEAD -> new QuantTarget("re:^voice$", List.of("voice"));
      case VISION -> new QuantTarget("re:^eye$", List.of("eye"));
      default -> new QuantTarget("re:^bridge$", List.of("bridge"));
    };
  }

  @Override
  public VisionTower tower(Weights weights) {
    return new MosaicTower(this, weights);
  }

  /** Frequencies turn with time, row and column in turns. */
  @Override
  public Decoder decoder(Weights weights) {
    float[] inverse = Rope.of(text.headDim(), text.ropeTheta()).inverse();
    int[] axes = new int[inverse.length];
    for (int i = 0; i < axes.length; i++) {
      axes[i] = i % 3;
    }
    return new LlamaDecoder(this, new Rope(inverse, axes), weights);
  }

  @Override
  public void write(Path folder) {
    ObjectNode c = ConfigFile.newObject();
    c.put("model_type", MosaicFamily.TYPE).put("words", text.vocab()).put("width", text.width());
    c.put("layers", text.layers()).put("heads", text.heads()).put("mlp", text.mlp());
    c.put("tile", tile).put("vision", vision).put("deep", deep).put("tied", tied);
    ConfigFile.write(folder, c, ConfigFile.newObject().put("do_sample", false));
  }
}
