package io.gracebeam.worker.methods.family.llava;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.model.Decoder;
import io.gracebeam.worker.methods.model.DecoderNames;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.LlamaDecoder;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.model.PixelCache;
import io.gracebeam.worker.methods.model.SpecialTokens;
import io.gracebeam.worker.methods.model.VisionTower;
import io.gracebeam.worker.methods.model.Weights;
import java.nio.file.Path;
import java.util.Set;

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
    DecoderSizes text,
    int imageToken,
    int imageTokens,
    int featureLayer,
    boolean dropClass,
    int bosToken,
    int eosToken,
    int padToken,
    boolean projectorBias,
    boolean tied)
    implements ModelConfig {

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
  static LlavaConfig of(ModelShape shape, int vocab, SpecialTokens tokens) {
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
    DecoderSizes text =
        new DecoderSizes(
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
        tokens.image(),
        vision.patches(),
        -2,
        true,
        tokens.bos(),
        tokens.ends().iterator().next(),
        tokens.pad(),
        true,
        false);
  }

  @Override
  public void write(Path modelDir) {
    LlavaConfigFile.write(this, modelDir);
  }

  @Override
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

  @Override
  public SpecialTokens tokens() {
    return new SpecialTokens(imageToken, bosToken, Set.of(eosToken), padToken);
  }

  @Override
  public DecoderNames names() {
    return LlavaParameters.DECODER;
  }

  @Override
  public ModelParameters parameters() {
    return LlavaParameters.of(this);
  }

  @Override
  public boolean servedByPackedDecoder() {
    return true;
  }

  @Override
  public QuantTarget target(Part part) {
    return LlavaParameters.target(part);
  }

  @Override
  public VisionTower tower(Weights weights) {
    return new ClipTower(this, weights);
  }

  @Override
  public Decoder decoder(Weights weights) {
    return new LlamaDecoder(this, weights);
  }

  /** An image of pixels [3, side, side]. */
  public ModelImage image(float[] pixels) {
    int size = vision.imageSize();
    int side = size / vision.patchSize();
    return new ModelImage(
        PixelCache.of(pixels),
        new long[] {3, size, size},
        new ModelImage.Grid(1, side, side),
        imageTokens);
  }

  /** How many of the tower's blocks run before the chosen state. */
  public int visionBlocks() {
    return featureLayer < 0 ? vision.layers() + 1 + featureLayer : featureLayer;
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
