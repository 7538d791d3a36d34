package io.gracebeam.worker.methods.family.llava;

import static io.gracebeam.worker.methods.family.ConfigFile.integer;
import static io.gracebeam.worker.methods.family.ConfigFile.number;
import static io.gracebeam.worker.methods.family.ConfigFile.require;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.family.ConfigFile;
import io.gracebeam.worker.methods.model.DecoderSizes;
import java.nio.file.Path;

/** config.json of LLaVA-1.5 in its old (hub) and new (transformers 5) spellings. */
final class LlavaConfigFile {
  private static final String NAME = "config.json";

  private LlavaConfigFile() {}

  /** Missing text and vision keys take transformers' defaults of LLaVA-1.5. */
  static LlavaConfig read(ConfigFile file) {
    JsonNode root = file.root();
    JsonNode text = file.object("text_config");
    JsonNode vision = file.object("vision_config");
    require(text, "model_type", "llama", "llama");
    require(text, "hidden_act", "silu", "silu");
    require(vision, "model_type", "clip_vision_model", "clip_vision_model");
    require(vision, "hidden_act", "quick_gelu", "quick_gelu");
    require(root, "projector_hidden_act", "gelu", "gelu");
    for (String key : new String[] {"attention_bias", "mlp_bias"}) {
      if (text.path(key).asBoolean(false)) {
        throw GraceException.data("%s: text_config.%s is true; allowed: false", NAME, key);
      }
    }
    JsonNode rope = text.path("rope_parameters");
    for (JsonNode scaling : new JsonNode[] {rope, text.path("rope_scaling")}) {
      String type = scaling.path("rope_type").asText(scaling.path("type").asText("default"));
      if (!type.equals("default")) {
        throw GraceException.data("%s: the rope type is '%s'; allowed: default", NAME, type);
      }
    }
    String strategy = root.path("vision_feature_select_strategy").asText("default");
    if (!strategy.equals("default") && !strategy.equals("full")) {
      throw GraceException.data(
          "%s: vision_feature_select_strategy is '%s'; allowed: default, full", NAME, strategy);
    }
    if (root.path("vision_feature_layer").isArray()) {
      throw GraceException.data("%s: vision_feature_layer is a list; allowed: one number", NAME);
    }
    int width = integer(text, "hidden_size", 4096);
    int heads = integer(text, "num_attention_heads", 32);
    if (heads <= 0) {
      throw GraceException.data(
          "%s: text_config.num_attention_heads is %d; allowed: 1 or more", NAME, heads);
    }
    LlavaConfig.Vision v =
        new LlavaConfig.Vision(
            integer(vision, "image_size", 336),
            integer(vision, "patch_size", 14),
            integer(vision, "hidden_size", 1024),
            integer(vision, "num_hidden_layers", 24),
            integer(vision, "num_attention_heads", 16),
            integer(vision, "intermediate_size", 4096),
            integer(vision, "projection_dim", 768),
            number(vision, "layer_norm_eps", 1e-5));
    DecoderSizes t =
        new DecoderSizes(
            integer(text, "vocab_size", 32000),
            width,
            integer(text, "num_hidden_layers", 32),
            heads,
            integer(text, "num_key_value_heads", heads),
            integer(text, "head_dim", width / heads),
            integer(text, "intermediate_size", 11008),
            integer(text, "max_position_embeddings", 2048),
            number(text, "rms_norm_eps", 1e-6),
            number(rope, "rope_theta", number(text, "rope_theta", 10000)));
    boolean drop = strategy.equals("default");
    int side = v.patchSize() <= 0 ? 0 : v.imageSize() / v.patchSize();
    JsonNode tied = root.path("tie_word_embeddings");
    return new LlavaConfig(
        v,
        t,
        integer(root, "image_token_index", integer(root, "image_token_id", 32000)),
        integer(root, "image_seq_length", side * side + (drop ? 0 : 1)),
        integer(root, "vision_feature_layer", -2),
        drop,
        integer(text, "bos_token_id", integer(root, "bos_token_id", 1)),
        integer(text, "eos_token_id", integer(root, "eos_token_id", 2)),
        integer(root, "pad_token_id", integer(text, "pad_token_id", 0)),
        root.path("multimodal_projector_bias").asBoolean(true),
        tied.asBoolean(false));
  }

  static void write(LlavaConfig config, Path dir) {
    LlavaConfig.Vision v = config.vision();
    DecoderSizes t = config.text();
    ObjectNode root = ConfigFile.newObject();
    root.putArray("architectures").add("LlavaForConditionalGeneration");
    root.put("model_type", "llava");
    root.put("dtype", "float32");
    root.put("image_token_index", config.imageToken());
    root.put("image_token_id", config.imageToken());
    root.put("image_seq_length", config.imageTokens());
    root.put("vision_feature_layer", config.featureLayer());
    root.put("vision_feature_select_strategy", config.dropClass() ? "default" : "full");
    root.put("projector_hidden_act", "gelu");
    root.put("multimodal_projector_bias", config.projectorBias());
    root.put("tie_word_embeddings", config.tied());
    root.put("bos_token_id", config.bosToken());
    root.put("eos_token_id", config.eosToken());
    root.put("pad_token_id", config.padToken());
    ObjectNode text = root.putObject("text_config");
    text.put("model_type", "llama");
    text.put("dtype", "float32");
    text.put("hidden_act", "silu");
    text.put("vocab_size", t.vocab());
    text.put("hidden_size", t.width());
    text.put("num_hidden_layers", t.layers());
    text.put("num_attention_heads", t.heads());
    text.put("num_key_value_heads", t.kvHeads());
    text.put("head_dim", t.headDim());
    text.put("intermediate_size", t.mlp());
    text.put("max_position_embeddings", t.maxPositions());
    text.put("rms_norm_eps", t.eps());
    text.put("rope_theta", t.ropeTheta());
    text.putObject("rope_parameters").put("rope_type", "default").put("rope_theta", t.ropeTheta());
    text.put("attention_bias", false);
    text.put("mlp_bias", false);
    text.put("tie_word_embeddings", config.tied());
    text.put("bos_token_id", config.bosToken());
    text.put("eos_token_id", config.eosToken());
    text.put("pad_token_id", config.padToken());
    ObjectNode vision = root.putObject("vision_config");
    vision.put("model_type", "clip_vision_model");
    vision.put("dtype", "float32");
    vision.put("hidden_act", "quick_gelu");
    vision.put("image_size", v.imageSize());
    vision.put("patch_size", v.patchSize());
    vision.put("hidden_size", v.width());
    vision.put("num_hidden_layers", v.layers());
    vision.put("num_attention_heads", v.heads());
    vision.put("intermediate_size", v.mlp());
    vision.put("projection_dim", v.projection());
    vision.put("layer_norm_eps", v.eps());
    ObjectNode generation = ConfigFile.newObject();
    generation.put("bos_token_id", config.bosToken());
    generation.put("eos_token_id", config.eosToken());
    generation.put("pad_token_id", config.padToken());
    generation.put("do_sample", false);
    ConfigFile.write(dir, root, generation);
  }
}
