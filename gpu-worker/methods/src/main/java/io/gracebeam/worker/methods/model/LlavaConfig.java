package io.gracebeam.worker.methods.model;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ModelShape;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Sizes and switches of a LLaVA-1.5-shaped model.
 *
 * @param vision the CLIP tower
 * @param text the LLaMA decoder
 * @param imageToken id of the image placeholder
 * @param imageTokens placeholders per image
 * @param featureLayer which of the tower's layers + 1 states is used; negative counts from the end
 * @param dropClass whether the class token is dropped ("default") or kept ("full")
 * @param bosToken id that starts a sequence; -1 for none
 * @param eosToken id that ends an answer
 * @param padToken id for padding
 * @param projectorBias whether the projector has biases
 * @param tied whether the head is the embedding table
 */
public record LlavaConfig(
    Vision vision,
    Text text,
    int imageToken,
    int imageTokens,
    int featureLayer,
    boolean dropClass,
    int bosToken,
    int eosToken,
    int padToken,
    boolean projectorBias,
    boolean tied) {

  /** Sizes of the CLIP tower; `projection` is the unused CLIP output width, kept for the file. */
  public record Vision(
      int imageSize,
      int patchSize,
      int width,
      int layers,
      int heads,
      int mlp,
      int projection,
      double eps) {
    /** Patches per image. */
    public int patches() {
      return (imageSize / patchSize) * (imageSize / patchSize);
    }
  }

  /** Sizes of the decoder. */
  public record Text(
      int vocab,
      int width,
      int layers,
      int heads,
      int kvHeads,
      int headDim,
      int mlp,
      int maxPositions,
      double eps,
      double ropeTheta) {}

  private static final int MAX = 1 << 20;

  /** Checks every size against each other; a wrong one is a DATA error naming it. */
  public LlavaConfig {
    positive("vision_config.image_size", vision.imageSize());
    positive("vision_config.patch_size", vision.patchSize());
    positive("vision_config.hidden_size", vision.width());
    positive("vision_config.num_hidden_layers", vision.layers());
    positive("vision_config.num_attention_heads", vision.heads());
    positive("vision_config.intermediate_size", vision.mlp());
    positive("text_config.vocab_size", text.vocab());
    positive("text_config.hidden_size", text.width());
    positive("text_config.num_hidden_layers", text.layers());
    positive("text_config.num_attention_heads", text.heads());
    positive("text_config.num_key_value_heads", text.kvHeads());
    positive("text_config.head_dim", text.headDim());
    positive("text_config.intermediate_size", text.mlp());
    positive("text_config.max_position_embeddings", text.maxPositions());
    require(
        vision.imageSize() >= vision.patchSize(),
        "vision_config.image_size %d is below patch_size %d",
        vision.imageSize(),
        vision.patchSize());
    require(
        vision.width() % vision.heads() == 0,
        "vision_config.hidden_size %d is not a multiple of num_attention_heads %d",
        vision.width(),
        vision.heads());
    require(
        text.heads() % text.kvHeads() == 0,
        "text_config.num_attention_heads %d is not a multiple of num_key_value_heads %d",
        text.heads(),
        text.kvHeads());
    require(text.headDim() % 2 == 0, "text_config.head_dim %d is odd", text.headDim());
    require(
        imageToken >= 0 && imageToken < text.vocab(),
        "image_token_index %d is outside the vocabulary of %d",
        imageToken,
        text.vocab());
    require(
        featureLayer >= -(vision.layers() + 1) && featureLayer <= vision.layers(),
        "vision_feature_layer %d does not exist in a tower of %d layers",
        featureLayer,
        vision.layers());
    int expected = vision.patches() + (dropClass ? 0 : 1);
    require(
        imageTokens == expected,
        "image_seq_length is %d but %d-pixel images in patches of %d give %d image tokens",
        imageTokens,
        vision.imageSize(),
        vision.patchSize(),
        expected);
    require(
        text.ropeTheta() > 0 && text.eps() > 0 && vision.eps() > 0,
        "rope_theta %s and the norms' eps %s, %s must be above 0",
        text.ropeTheta(),
        text.eps(),
        vision.eps());
  }

  /**
   * A configuration of the given shape with LLaVA-1.5's conventions (feature layer -2, class token
   * dropped, rope theta 10000).
   *
   * @throws GraceException DATA for sizes that do not fit each other
   */
  public static LlavaConfig of(
      ModelShape shape, int vocab, int imageToken, int bosToken, int eosToken, int padToken) {
    positive("image_size", shape.getImageSize());
    positive("patch_size", shape.getPatchSize());
    positive("heads", shape.getHeads());
    require(
        shape.getWidth() % shape.getHeads() == 0,
        "width %d is not a multiple of heads %d",
        shape.getWidth(),
        shape.getHeads());
    Vision vision =
        new Vision(
            shape.getImageSize(),
            shape.getPatchSize(),
            shape.getVisionWidth(),
            shape.getVisionLayers(),
            shape.getVisionHeads(),
            shape.getVisionMlp(),
            shape.getVisionWidth(),
            1e-5);
    Text text =
        new Text(
            vocab,
            shape.getWidth(),
            shape.getLayers(),
            shape.getHeads(),
            shape.getKvHeads() == 0 ? shape.getHeads() : shape.getKvHeads(),
            shape.getWidth() / shape.getHeads(),
            shape.getMlp(),
            2048,
            1e-5,
            10000);
    return new LlavaConfig(
        vision,
        text,
        imageToken,
        vision.patches(),
        -2,
        true,
        bosToken,
        eosToken,
        padToken,
        true,
        false);
  }

  /**
   * Reads `config.json` of a model folder; missing text and vision keys take transformers' defaults
   * of LLaVA-1.5.
   */
  public static LlavaConfig read(Path modelDir) {
    return LlavaConfigFile.read(modelDir);
  }

  /** Writes `config.json` and `generation_config.json` in the form that transformers 5 reads. */
  public void write(Path modelDir) {
    LlavaConfigFile.write(this, modelDir);
  }

  /** The same with a head of its own. */
  public LlavaConfig untied() {
    return new LlavaConfig(
        vision,
        text,
        imageToken,
        imageTokens,
        featureLayer,
        dropClass,
        bosToken,
        eosToken,
        padToken,
        projectorBias,
        false);
  }

  /** Size of the vocabulary, the head's rows. */
  public int vocab() {
    return text.vocab();
  }

  /** How many of the tower's blocks run before the chosen state. */
  public int visionBlocks() {
    return featureLayer < 0 ? vision.layers() + 1 + featureLayer : featureLayer;
  }

  /** Canonical names and shapes of all parameters, in canonical order. */
  public Map<String, long[]> parameterShapes() {
    Map<String, long[]> out = new LinkedHashMap<>();
    String tower = "vision_tower.vision_model.";
    long dv = vision.width();
    out.put(tower + "embeddings.class_embedding", new long[] {dv});
    out.put(
        tower + "embeddings.patch_embedding.weight",
        new long[] {dv, 3, vision.patchSize(), vision.patchSize()});
    out.put(tower + "embeddings.position_embedding.weight", new long[] {vision.patches() + 1L, dv});
    affine(out, tower + "pre_layrnorm", dv);
    for (int i = 0; i < vision.layers(); i++) {
      String block = tower + "encoder.layers." + i + ".";
      affine(out, block + "layer_norm1", dv);
      for (String name : new String[] {"q_proj", "k_proj", "v_proj", "out_proj"}) {
        dense(out, block + "self_attn." + name, dv, dv, true);
      }
      affine(out, block + "layer_norm2", dv);
      dense(out, block + "mlp.fc1", vision.mlp(), dv, true);
      dense(out, block + "mlp.fc2", dv, vision.mlp(), true);
    }
    affine(out, tower + "post_layernorm", dv);
    long d = text.width();
    dense(out, "multi_modal_projector.linear_1", d, dv, projectorBias);
    dense(out, "multi_modal_projector.linear_2", d, d, projectorBias);
    out.put("language_model.model.embed_tokens.weight", new long[] {vocab(), d});
    long q = (long) text.heads() * text.headDim();
    long kv = (long) text.kvHeads() * text.headDim();
    for (int i = 0; i < text.layers(); i++) {
      String block = "language_model.model.layers." + i + ".";
      out.put(block + "input_layernorm.weight", new long[] {d});
      dense(out, block + "self_attn.q_proj", q, d, false);
      dense(out, block + "self_attn.k_proj", kv, d, false);
      dense(out, block + "self_attn.v_proj", kv, d, false);
      dense(out, block + "self_attn.o_proj", d, q, false);
      out.put(block + "post_attention_layernorm.weight", new long[] {d});
      dense(out, block + "mlp.gate_proj", text.mlp(), d, false);
      dense(out, block + "mlp.up_proj", text.mlp(), d, false);
      dense(out, block + "mlp.down_proj", d, text.mlp(), false);
    }
    out.put("language_model.model.norm.weight", new long[] {d});
    if (!tied) {
      out.put("language_model.lm_head.weight", new long[] {vocab(), d});
    }
    return out;
  }

  private static void affine(Map<String, long[]> out, String name, long width) {
    out.put(name + ".weight", new long[] {width});
    out.put(name + ".bias", new long[] {width});
  }

  private static void dense(
      Map<String, long[]> out, String name, long rows, long cols, boolean bias) {
    out.put(name + ".weight", new long[] {rows, cols});
    if (bias) {
      out.put(name + ".bias", new long[] {rows});
    }
  }

  private static void positive(String name, int value) {
    require(value > 0 && value <= MAX, "%s is %d; allowed: 1 to %d", name, value, MAX);
  }

  private static void require(boolean condition, String format, Object... args) {
    if (!condition) {
      throw GraceException.data("model configuration: " + format, args);
    }
  }
}
