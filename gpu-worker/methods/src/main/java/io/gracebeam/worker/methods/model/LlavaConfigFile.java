package io.gracebeam.worker.methods.model;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** config.json of LLaVA-1.5 in its old (hub) and new (transformers 5) spellings. */
final class LlavaConfigFile {
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
  private static final long MAX_BYTES = 1 << 20;

  private LlavaConfigFile() {}

  static LlavaConfig read(Path dir) {
    Path file = dir.resolve("config.json");
    JsonNode root = parse(file);
    refuseUnless(file, root, "model_type", "llava", "llava");
    JsonNode text = root.path("text_config");
    JsonNode vision = root.path("vision_config");
    refuseUnless(file, text, "model_type", "llama", "llama");
    refuseUnless(file, text, "hidden_act", "silu", "silu");
    refuseUnless(file, vision, "model_type", "clip_vision_model", "clip_vision_model");
    refuseUnless(file, vision, "hidden_act", "quick_gelu", "quick_gelu");
    refuseUnless(file, root, "projector_hidden_act", "gelu", "gelu");
    for (String key : new String[] {"attention_bias", "mlp_bias"}) {
      if (text.path(key).asBoolean(false)) {
        throw GraceException.data("%s: text_config.%s is true; allowed: false", name(file), key);
      }
    }
    JsonNode rope = text.path("rope_parameters");
    for (JsonNode scaling : new JsonNode[] {rope, text.path("rope_scaling")}) {
      String type = scaling.path("rope_type").asText(scaling.path("type").asText("default"));
      if (!type.equals("default")) {
        throw GraceException.data("%s: the rope type is '%s'; allowed: default", name(file), type);
      }
    }
    String strategy = root.path("vision_feature_select_strategy").asText("default");
    if (!strategy.equals("default") && !strategy.equals("full")) {
      throw GraceException.data(
          "%s: vision_feature_select_strategy is '%s'; allowed: default, full",
          name(file), strategy);
    }
    if (root.path("vision_feature_layer").isArray()) {
      throw GraceException.data(
          "%s: vision_feature_layer is a list; allowed: one number", name(file));
    }
    int width = integer(file, text, "hidden_size", 4096);
    int heads = integer(file, text, "num_attention_heads", 32);
    if (heads <= 0) {
      throw GraceException.data(
          "%s: text_config.num_attention_heads is %d; allowed: 1 or more", name(file), heads);
    }
    LlavaConfig.Vision v =
        new LlavaConfig.Vision(
            integer(file, vision, "image_size", 336),
            integer(file, vision, "patch_size", 14),
            integer(file, vision, "hidden_size", 1024),
            integer(file, vision, "num_hidden_layers", 24),
            integer(file, vision, "num_attention_heads", 16),
            integer(file, vision, "intermediate_size", 4096),
            integer(file, vision, "projection_dim", 768),
            number(file, vision, "layer_norm_eps", 1e-5));
    LlavaConfig.Text t =
        new LlavaConfig.Text(
            integer(file, text, "vocab_size", 32000),
            width,
            integer(file, text, "num_hidden_layers", 32),
            heads,
            integer(file, text, "num_key_value_heads", heads),
            integer(file, text, "head_dim", width / heads),
            integer(file, text, "intermediate_size", 11008),
            integer(file, text, "max_position_embeddings", 2048),
            number(file, text, "rms_norm_eps", 1e-6),
            number(file, rope, "rope_theta", number(file, text, "rope_theta", 10000)));
    boolean drop = strategy.equals("default");
    int side = v.patchSize() <= 0 ? 0 : v.imageSize() / v.patchSize();
    JsonNode tied = root.path("tie_word_embeddings");
    return new LlavaConfig(
        v,
        t,
        integer(file, root, "image_token_index", integer(file, root, "image_token_id", 32000)),
        integer(file, root, "image_seq_length", side * side + (drop ? 0 : 1)),
        integer(file, root, "vision_feature_layer", -2),
        drop,
        integer(file, text, "bos_token_id", integer(file, root, "bos_token_id", 1)),
        integer(file, text, "eos_token_id", integer(file, root, "eos_token_id", 2)),
        integer(file, root, "pad_token_id", integer(file, text, "pad_token_id", 0)),
        root.path("multimodal_projector_bias").asBoolean(true),
        tied.asBoolean(false));
  }

  static void write(LlavaConfig config, Path dir) {
    LlavaConfig.Vision v = config.vision();
    LlavaConfig.Text t = config.text();
    ObjectNode root = JSON.createObjectNode();
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
    ObjectNode generation = JSON.createObjectNode();
    generation.put("bos_token_id", config.bosToken());
    generation.put("eos_token_id", config.eosToken());
    generation.put("pad_token_id", config.padToken());
    generation.put("do_sample", false);
    try {
      Files.createDirectories(dir);
      Files.write(dir.resolve("config.json"), JSON.writeValueAsBytes(root));
      Files.write(dir.resolve("generation_config.json"), JSON.writeValueAsBytes(generation));
    } catch (IOException e) {
      throw GraceException.environment(
              "the model configuration could not be written to %s (%s)",
              dir.getFileName(), e.getClass().getSimpleName())
          .withCause(e);
    }
  }

  private static JsonNode parse(Path file) {
    try {
      if (!Files.isRegularFile(file)) {
        throw GraceException.data(
            "%s is missing in the model folder; a Hugging Face LLaVA folder has one", name(file));
      }
      if (Files.size(file) > MAX_BYTES) {
        throw GraceException.data(
            "%s has %d bytes; allowed: at most %d", name(file), Files.size(file), MAX_BYTES);
      }
      JsonNode node = JSON.readTree(Files.readAllBytes(file));
      if (!node.isObject()) {
        throw GraceException.data("%s is not a JSON object", name(file));
      }
      return node;
    } catch (JsonProcessingException e) {
      throw GraceException.data(
              "%s is not valid JSON (line %d)",
              name(file), e.getLocation() == null ? 0 : e.getLocation().getLineNr())
          .withCause(e);
    } catch (IOException e) {
      throw GraceException.environment("%s could not be read (%s)", name(file), e.getMessage())
          .withCause(e);
    }
  }

  private static void refuseUnless(
      Path file, JsonNode node, String key, String fallback, String allowed) {
    String value = node.path(key).asText(fallback);
    if (!value.equals(allowed)) {
      throw GraceException.data("%s: %s is '%s'; allowed: %s", name(file), key, value, allowed);
    }
  }

  private static int integer(Path file, JsonNode node, String key, int fallback) {
    JsonNode value = node.path(key);
    if (value instanceof MissingNode || value.isNull()) {
      return fallback;
    }
    if (value.isArray() && !value.isEmpty()) {
      value = value.get(0);
    }
    if (!value.isIntegralNumber() || !value.canConvertToInt()) {
      throw GraceException.data(
          "%s: %s is %s; allowed: an integer of 32 bits", name(file), key, value);
    }
    return value.intValue();
  }

  private static double number(Path file, JsonNode node, String key, double fallback) {
    JsonNode value = node.path(key);
    if (value instanceof MissingNode || value.isNull()) {
      return fallback;
    }
    if (!value.isNumber()) {
      throw GraceException.data("%s: %s is %s; allowed: a number", name(file), key, value);
    }
    return value.doubleValue();
  }

  private static String name(Path file) {
    return String.valueOf(file.getFileName());
  }
}
