package io.gracebeam.worker.methods.model;

import java.nio.file.Path;
import java.util.List;

/**
 * What config.json says of a model, as all code outside of its family sees it: sizes, special
 * tokens, parameters, and how its parts are built.
 */
public interface ModelConfig {
  /** Sizes of the decoder. */
  DecoderSizes text();

  /** Special tokens. */
  SpecialTokens tokens();

  /** Whether the head is the embedding table. */
  boolean tied();

  /** This model with a head of its own. */
  ModelConfig untied();

  /** Canonical names of the decoder's parameters. */
  DecoderNames names();

  /** All parameters. They are made by each call: keep them. */
  ModelParameters parameters();

  /** Visual tokens of every image where all images have equally many; 0 where they differ. */
  default int imageTokens() {
    return 0;
  }

  /**
   * Whether {@link io.gracebeam.worker.kernels.PackedDecoder} computes this decoder: RMSNorm,
   * rotary positions in halves, grouped queries and SwiGLU, nothing else.
   */
  boolean servedByPackedDecoder();

  /** How a part is named in a compressed-tensors configuration; for all parts that have linears. */
  QuantTarget target(Part part);

  /** Builds the vision tower, with what stands between it and the decoder. */
  VisionTower tower(Weights weights);

  /** Builds the decoder. */
  Decoder decoder(Weights weights);

  /** Writes config.json and generation_config.json in the form that transformers reads. */
  void write(Path folder);

  /**
   * How compressed-tensors finds the linears of a part.
   *
   * @param modules {@code re:} and a regular expression over module names of every generation, or
   *     the class {@code Linear}
   * @param ignored entries of its ignore list where the part is not quantized
   */
  record QuantTarget(String modules, List<String> ignored) {}

  /** Size of the vocabulary. */
  default int vocab() {
    return text().vocab();
  }
}
