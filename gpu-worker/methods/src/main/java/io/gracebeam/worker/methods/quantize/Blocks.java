package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.Part;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Cuts a model into the blocks that quantizers take, by canonical names. */
public final class Blocks {
  private static final Pattern LAYER = Pattern.compile("(.*\\.layers\\.\\d+\\.).*");
  private static final String FINAL_NORM = "language_model.model.norm.weight";

  /** What makes the input of a linear, within its layer. */
  private static final Map<String, String> PREDECESSORS =
      Map.ofEntries(
          Map.entry("self_attn.o_proj.weight", "self_attn.v_proj.weight"),
          Map.entry("self_attn.out_proj.weight", "self_attn.v_proj.weight"),
          Map.entry("mlp.gate_proj.weight", "post_attention_layernorm.weight"),
          Map.entry("mlp.up_proj.weight", "post_attention_layernorm.weight"),
          Map.entry("mlp.down_proj.weight", "mlp.up_proj.weight"),
          Map.entry("mlp.fc1.weight", "layer_norm2.weight"));

  private static final Pattern ATTENTION_IN = Pattern.compile("self_attn\\.[qkv]_proj\\.weight");

  private Blocks() {}

  /**
   * The blocks of these parts, in the order of the tensors.
   *
   * @param tensors a model's dense tensors by canonical name
   */
  public static List<Block> of(Map<String, Tensor> tensors, Set<Part> parts) {
    Map<String, List<String>> weights = new LinkedHashMap<>();
    for (String name : tensors.keySet()) {
      if (Part.of(name).filter(parts::contains).isPresent()) {
        weights.computeIfAbsent(prefix(name), p -> new ArrayList<>()).add(name);
      }
    }
    List<Block> out = new ArrayList<>();
    weights.forEach((prefix, names) -> out.add(block(prefix, names, tensors)));
    return out;
  }

  private static Block block(String prefix, List<String> names, Map<String, Tensor> tensors) {
    Map<String, Tensor> own = new LinkedHashMap<>();
    tensors.forEach(
        (name, tensor) -> {
          if (name.startsWith(prefix)) {
            own.put(name, tensor);
          }
        });
    List<Linear> linears = new ArrayList<>();
    for (String name : names) {
      Optional<String> before = predecessor(prefix, name).filter(tensors::containsKey);
      before.ifPresent(b -> own.put(b, tensors.get(b)));
      long[] shape = tensors.get(name).shape();
      linears.add(new Linear(name, (int) shape[0], (int) shape[1], before));
    }
    Part part = Part.of(names.getFirst()).orElseThrow();
    return new Block(prefix.substring(0, prefix.length() - 1), part, linears, own);
  }

  /** The layer of a weight, or what stands before its module's own name. */
  private static String prefix(String name) {
    Matcher layer = LAYER.matcher(name);
    if (layer.matches()) {
      return layer.group(1);
    }
    String module = name.substring(0, name.lastIndexOf('.'));
    return Part.of(name).equals(Optional.of(Part.HEAD))
        ? module + "."
        : module.substring(0, module.lastIndexOf('.') + 1);
  }

  private static Optional<String> predecessor(String prefix, String name) {
    if (Part.of(name).equals(Optional.of(Part.HEAD))) {
      return Optional.of(FINAL_NORM);
    }
    String own = name.substring(prefix.length());
    if (ATTENTION_IN.matcher(own).matches()) {
      boolean decoder = Part.of(name).equals(Optional.of(Part.DECODER));
      return Optional.of(prefix + (decoder ? "input_layernorm.weight" : "layer_norm1.weight"));
    }
    return Optional.ofNullable(PREDECESSORS.get(own)).map(before -> prefix + before);
  }
}
