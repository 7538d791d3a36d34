package io.gracebeam.worker.methods.family.llava;

import static io.gracebeam.worker.methods.model.ModelParameter.Trait.LINEAR;
import static io.gracebeam.worker.methods.model.ModelParameter.Trait.OPTIONAL;
import static io.gracebeam.worker.methods.model.ModelParameter.Trait.UNUSED;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.methods.model.DecoderNames;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.ModelConfig.QuantTarget;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.ModelParameter.Place;
import io.gracebeam.worker.methods.model.ModelParameter.Start;
import io.gracebeam.worker.methods.model.ModelParameter.Trait;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** LLaVA-1.5's parameters under the names of the published llava-hf checkpoints. */
final class LlavaParameters {
  static final String TOWER = "vision_tower.vision_model.";
  static final String PROJECTOR = "multi_modal_projector.linear_";
  static final DecoderNames DECODER =
      DecoderNames.huggingFace("language_model.model.", "language_model.lm_head.weight");

  /**
   * Deviation of token and position embeddings: what is added to them has deviation about 1 and
   * must not drown them.
   */
  private static final Start EMBEDDING = Start.normal(0.5);

  private static final Start SMALL = Start.normal(0.02);

  private final List<ModelParameter> out = new ArrayList<>();

  private LlavaParameters() {}

  /** All parameters in canonical order. */
  static ModelParameters of(LlavaConfig config) {
    LlavaParameters all = new LlavaParameters();
    all.tower(config);
    all.projector(config);
    all.decoder(config);
    return new ModelParameters(all.out);
  }

  private void tower(LlavaConfig config) {
    LlavaConfig.Vision v = config.vision();
    long width = v.width();
    Place outside = Place.of(Part.VISION);
    add(TOWER + "embeddings.class_embedding", outside, SMALL, Set.of(), width);
    long patch = v.patchSize();
    Start patches = Start.linear(3 * patch * patch);
    String embedding = TOWER + "embeddings.patch_embedding.weight";
    add(embedding, outside, patches, Set.of(), width, 3, patch, patch);
    add(
        TOWER + "embeddings.position_embedding.weight",
        outside,
        EMBEDDING,
        Set.of(),
        v.patches() + 1L,
        width);
    affine(TOWER + "pre_layrnorm", outside, Set.of(), width);
    for (int i = 0; i < v.layers(); i++) {
      Place place = Place.of(Part.VISION, i);
      Set<Trait> used = i < config.visionBlocks() ? Set.of() : Set.of(UNUSED);
      String block = TOWER + "encoder.layers." + i + ".";
      affine(block + "layer_norm1", place, used, width);
      Layer layer = new Layer(place, used, Start.linear(width), block + "layer_norm1.weight");
      for (String name : List.of("q_proj", "k_proj", "v_proj")) {
        dense(block + "self_attn." + name, layer, width, width);
      }
      String value = block + "self_attn.v_proj.weight";
      Layer out = new Layer(place, used, Start.residual(width, v.layers()), value);
      dense(block + "self_attn.out_proj", out, width, width);
      affine(block + "layer_norm2", place, used, width);
      Layer up = new Layer(place, used, Start.linear(width), block + "layer_norm2.weight");
      dense(block + "mlp.fc1", up, v.mlp(), width);
      Layer down = new Layer(place, used, Start.residual(v.mlp(), v.layers()), null);
      dense(block + "mlp.fc2", down, width, v.mlp());
    }
    affine(TOWER + "post_layernorm", outside, Set.of(OPTIONAL, UNUSED), width);
  }

  private void projector(LlavaConfig config) {
    long width = config.text().width();
    long[] inputs = {config.vision().width(), width};
    for (int i = 0; i < 2; i++) {
      Place place = Place.of(Part.PROJECTOR);
      String name = PROJECTOR + (i + 1);
      Layer layer = new Layer(place, Set.of(), Start.linear(inputs[i]), null);
      weight(name + ".weight", layer, width, inputs[i]);
      if (config.projectorBias()) {
        add(name + ".bias", place, Start.ZERO, Set.of(), width);
      }
    }
  }

  private void decoder(LlavaConfig config) {
    DecoderSizes t = config.text();
    long d = t.width();
    add(DECODER.embedding(), Place.of(Part.EMBEDDING), EMBEDDING, Set.of(), t.vocab(), d);
    long q = (long) t.heads() * t.headDim();
    long kv = (long) t.kvHeads() * t.headDim();
    for (int i = 0; i < t.layers(); i++) {
      Place place = Place.of(Part.DECODER, i);
      DECODER
          .block(i)
          .forEach(
              (parameter, name) -> {
                switch (parameter) {
                  case NORM1, NORM2 -> add(name, place, Start.ONE, Set.of(), d);
                  case QUERY -> block(place, parameter, Parameter.NORM1, Start.linear(d), q, d);
                  case KEY, VALUE ->
                      block(place, parameter, Parameter.NORM1, Start.linear(d), kv, d);
                  case OUT -> {
                    Start residual = Start.residual(q, t.layers());
                    block(place, parameter, Parameter.VALUE, residual, d, q);
                  }
                  case GATE, UP ->
                      block(place, parameter, Parameter.NORM2, Start.linear(d), t.mlp(), d);
                  case DOWN -> {
                    Start residual = Start.residual(t.mlp(), t.layers());
                    block(place, parameter, Parameter.UP, residual, d, t.mlp());
                  }
                  default -> throw GraceException.bug("%s has no shape", name);
                }
              });
    }
    add(DECODER.norm(), Place.of(Part.DECODER), Start.ONE, Set.of(), d);
    if (!config.tied()) {
      Layer head = new Layer(Place.of(Part.HEAD), Set.of(), SMALL, DECODER.norm());
      weight(DECODER.head(), head, t.vocab(), d);
    }
  }

  private void affine(String name, Place place, Set<Trait> traits, long width) {
    add(name + ".weight", place, Start.ONE, traits, width);
    add(name + ".bias", place, Start.ZERO, traits, width);
  }

  /** A linear weight of a decoder block. */
  private void block(
      Place place, Parameter parameter, Parameter before, Start start, long rows, long cols) {
    String input = DECODER.of(place.block(), before);
    Layer layer = new Layer(place, Set.of(), start, input);
    weight(DECODER.of(place.block(), parameter), layer, rows, cols);
  }

  /** What linear layers share; {@code before} may be null. */
  private record Layer(Place place, Set<Trait> traits, Start start, String before) {}

  private void dense(String name, Layer layer, long rows, long cols) {
    weight(name + ".weight", layer, rows, cols);
    add(name + ".bias", layer.place(), Start.ZERO, layer.traits(), rows);
  }

  private void weight(String name, Layer layer, long rows, long cols) {
    Set<Trait> traits = layer.traits().contains(UNUSED) ? Set.of(LINEAR, UNUSED) : Set.of(LINEAR);
    long[] shape = {rows, cols};
    out.add(
        new ModelParameter(
            name,
            shape,
            layer.place(),
            layer.start(),
            traits,
            Optional.ofNullable(layer.before())));
  }

  private void add(String name, Place place, Start start, Set<Trait> traits, long... shape) {
    out.add(new ModelParameter(name, shape, place, start, traits, Optional.empty()));
  }

  /** Modules under every generation of tensor names. */
  static QuantTarget target(Part part) {
    return switch (part) {
      case DECODER -> new QuantTarget("Linear", List.of());
      case HEAD -> new QuantTarget("re:.*lm_head$", List.of("lm_head", "re:.*lm_head.*"));
      case VISION ->
          new QuantTarget(
              "re:.*vision_tower.*\\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)$",
              List.of("re:.*vision_tower.*"));
      case PROJECTOR ->
          new QuantTarget(
              "re:.*multi_modal_projector.*linear_[12]$", List.of("re:.*multi_modal_projector.*"));
      case EMBEDDING -> throw GraceException.bug("the embedding table is never packed");
    };
  }
}
