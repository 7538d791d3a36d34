package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import java.util.EnumMap;
import java.util.Map;

/**
 * Canonical names of a decoder's parameters.
 *
 * @param embedding the embedding table
 * @param norm weight of the last norm
 * @param head the output head, used unless it is tied to the embedding table
 * @param layers what the names of a block begin with; {@code %d} stands for its number
 * @param inBlock how the names of a block go on
 */
public record DecoderNames(
    String embedding, String norm, String head, String layers, Map<Parameter, String> inBlock) {

  /**
   * Names as most Hugging Face decoders have them: {@code root + "embed_tokens.weight"}, {@code
   * root + "layers.0.self_attn.q_proj.weight"} and so on, without biases.
   */
  public static DecoderNames huggingFace(String root, String head) {
    Map<Parameter, String> inBlock = new EnumMap<>(Parameter.class);
    inBlock.put(Parameter.NORM1, "input_layernorm.weight");
    inBlock.put(Parameter.QUERY, "self_attn.q_proj.weight");
    inBlock.put(Parameter.KEY, "self_attn.k_proj.weight");
    inBlock.put(Parameter.VALUE, "self_attn.v_proj.weight");
    inBlock.put(Parameter.OUT, "self_attn.o_proj.weight");
    inBlock.put(Parameter.NORM2, "post_attention_layernorm.weight");
    inBlock.put(Parameter.GATE, "mlp.gate_proj.weight");
    inBlock.put(Parameter.UP, "mlp.up_proj.weight");
    inBlock.put(Parameter.DOWN, "mlp.down_proj.weight");
    return new DecoderNames(
        root + "embed_tokens.weight", root + "norm.weight", head, root + "layers.%d.", inBlock);
  }

  /** A parameter of a block; null where blocks have none. */
  public String of(int layer, Parameter parameter) {
    String rest = inBlock.get(parameter);
    return rest == null ? null : layers.replace("%d", Integer.toString(layer)) + rest;
  }

  /** All names of a block. */
  public Map<Parameter, String> block(int layer) {
    Map<Parameter, String> out = new EnumMap<>(Parameter.class);
    inBlock.keySet().forEach(parameter -> out.put(parameter, of(layer, parameter)));
    return out;
  }
}
