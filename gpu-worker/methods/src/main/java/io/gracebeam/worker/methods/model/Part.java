package io.gracebeam.worker.methods.model;

import java.util.Optional;
import java.util.regex.Pattern;

/** Parts of a model whose linear weights are quantized together, each with bits of its own. */
public enum Part {
  /** Query, key, value, output, gate, up and down weights of the decoder's blocks. */
  DECODER(
      "language_model\\.model\\.layers\\.\\d+\\.[a-z_]+\\.(?:[qkvo]|gate|up|down)_proj\\.weight"),

  /** The output head. */
  HEAD("language_model\\.lm_head\\.weight"),

  /** The vision tower's linears; not its convolution over patches. */
  VISION(
      "vision_tower\\.vision_model\\.encoder\\.layers\\.\\d+\\.(?:self_attn\\.(?:[qkv]|out)_proj|mlp\\.fc[12])\\.weight"),

  /** The two linears between vision tower and decoder. */
  PROJECTOR("multi_modal_projector\\.linear_[12]\\.weight");

  private final Pattern names;

  Part(String names) {
    this.names = Pattern.compile(names);
  }

  /**
   * The part that a weight belongs to, by canonical name; empty for all that is never quantized.
   */
  public static Optional<Part> of(String name) {
    for (Part part : values()) {
      if (part.names.matcher(name).matches()) {
        return Optional.of(part);
      }
    }
    return Optional.empty();
  }
}
