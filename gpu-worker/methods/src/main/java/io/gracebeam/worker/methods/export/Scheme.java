package io.gracebeam.worker.methods.export;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.training.Files2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The {@code quantization_config} of a compressed-tensors folder in the format pack-quantized.
 *
 * @param bits code width
 * @param groupSize elements per scale along the input; -1 for one scale per row
 */
record Scheme(int bits, int groupSize) {
  private static final String KEY = "quantization_config";

  /** Elements per scale of a weight with {@code cols} inputs. */
  int group(int cols) {
    return groupSize == -1 ? cols : groupSize;
  }

  /** Adds the block to the folder's config.json. */
  void addTo(Path folder) {
    Path file = folder.resolve("config.json");
    ObjectMapper json = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
    try {
      ObjectNode root = (ObjectNode) json.readTree(Files.readAllBytes(file));
      ObjectNode q = root.putObject(KEY);
      q.put("quant_method", "compressed-tensors");
      q.put("format", "pack-quantized");
      q.put("quantization_status", "compressed");
      q.putArray("ignore")
          .add("lm_head")
          .add("re:.*lm_head.*")
          .add("re:.*vision_tower.*")
          .add("re:.*multi_modal_projector.*");
      q.putNull("kv_cache_scheme");
      ObjectNode group = q.putObject("config_groups").putObject("group_0");
      group.putArray("targets").add("Linear");
      group.putNull("input_activations");
      group.putNull("output_activations");
      ObjectNode w = group.putObject("weights");
      w.put("num_bits", bits).put("type", "int").put("symmetric", true);
      w.put("strategy", groupSize == -1 ? "channel" : "group");
      if (groupSize == -1) {
        w.putNull("group_size");
      } else {
        w.put("group_size", groupSize);
      }
      w.put("dynamic", false);
      Files2.write(file, json.writeValueAsString(root) + "\n");
    } catch (IOException e) {
      throw GraceException.data("config.json: cannot be read").withCause(e);
    }
  }

  /**
   * Reads the block.
   *
   * @throws GraceException data, if the folder is not a symmetric pack-quantized one
   */
  static Scheme read(Path folder) {
    JsonNode q;
    try {
      q = new ObjectMapper().readTree(Files.readAllBytes(folder.resolve("config.json"))).path(KEY);
    } catch (IOException e) {
      throw GraceException.data("config.json: cannot be read").withCause(e);
    }
    JsonNode w = q.path("config_groups").path("group_0").path("weights");
    String strategy = w.path("strategy").asText();
    int bits = w.path("num_bits").asInt();
    int group = strategy.equals("channel") ? -1 : w.path("group_size").asInt();
    if (!q.path("format").asText().equals("pack-quantized")
        || !w.path("symmetric").asBoolean()
        || !(strategy.equals("channel") || strategy.equals("group"))
        || bits < 2
        || bits > 8
        || (group != -1 && group < 1)) {
      throw GraceException.data(
          "config.json: quantization_config is not pack-quantized with symmetric group or channel scales of 2 to 8 bits");
    }
    return new Scheme(bits, group);
  }

  /** Whether the folder's config.json has a quantization_config. */
  static boolean present(Path folder) {
    try {
      return new ObjectMapper()
          .readTree(Files.readAllBytes(folder.resolve("config.json")))
          .has(KEY);
    } catch (IOException e) {
      throw GraceException.data("%s: config.json cannot be read", folder.getFileName())
          .withCause(e);
    }
  }
}
