package io.gracebeam.worker.methods.export;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.quantize.QuantScheme;
import io.gracebeam.worker.methods.work.Files2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;

/**
 * The {@code quantization_config} of a compressed-tensors folder in the format pack-quantized: a
 * group for the decoder's linears, one for each other part that is quantized, and what the cache of
 * keys and values is rounded to.
 *
 * @param groups in the order of the file; at least one
 * @param kvBits bits of a cached key or value: 16, or 8 with one scale for each head and position
 */
record Scheme(List<Group> groups, int kvBits) {
  private static final String KEY = "quantization_config";

  /**
   * Weights that share bits and size of their groups.
   *
   * @param targets as compressed-tensors matches them: names, {@code re:} and a regular expression,
   *     or the class {@code Linear}
   * @param bits code width
   * @param size elements per scale along the input; -1 for one scale per row
   * @param symmetric whether there are no zero points
   */
  record Group(List<String> targets, int bits, int size, boolean symmetric) {
    /** Elements per scale of a weight with {@code cols} inputs. */
    int of(int cols) {
      return size == -1 ? cols : size;
    }
  }

  /**
   * The scheme of an export.
   *
   * @param parts what is quantized, the decoder among them
   * @param config names the modules of the parts
   */
  static Scheme of(SortedMap<Part, QuantScheme> parts, int kvBits, ModelConfig config) {
    List<Group> groups = new ArrayList<>();
    parts.forEach(
        (part, form) -> {
          int size = form.perTensor() ? -1 : form.groupSize();
          groups.add(
              new Group(
                  List.of(config.target(part).modules()), form.bits(), size, form.symmetric()));
        });
    return new Scheme(groups, kvBits);
  }

  /**
   * The group of a weight.
   *
   * @param name canonical name, with {@code .weight}
   * @throws GraceException data, if no group targets it
   */
  Group group(String name) {
    return groups.size() == 1
        ? groups.getFirst()
        : Targets.find(groups, name.substring(0, name.length() - ".weight".length()));
  }

  /**
   * Adds the block to the folder's config.json.
   *
   * @param config names the modules of the parts
   */
  void addTo(Path folder, ModelConfig config) {
    Path file = folder.resolve("config.json");
    ObjectMapper json = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
    try {
      ObjectNode root = (ObjectNode) json.readTree(Files.readAllBytes(file));
      ObjectNode q = root.putObject(KEY);
      q.put("quant_method", "compressed-tensors");
      q.put("format", "pack-quantized");
      q.put("quantization_status", "compressed");
      ignore(q.putArray("ignore"), config);
      if (kvBits == 16) {
        q.putNull("kv_cache_scheme");
      } else {
        // A group is a head's key or value at one position; its scale is found when it is cached.
        arguments(q.putObject("kv_cache_scheme"), kvBits, config.text().headDim(), true, true);
      }
      ObjectNode all = q.putObject("config_groups");
      for (int i = 0; i < groups.size(); i++) {
        Group g = groups.get(i);
        ObjectNode group = all.putObject("group_" + i);
        g.targets().forEach(group.putArray("targets")::add);
        group.putNull("input_activations");
        group.putNull("output_activations");
        arguments(group.putObject("weights"), g.bits(), g.size(), g.symmetric(), false);
      }
      Files2.write(file, json.writeValueAsString(root) + "\n");
    } catch (IOException e) {
      throw GraceException.data("config.json: cannot be read").withCause(e);
    }
  }

  private void ignore(ArrayNode out, ModelConfig config) {
    Set<String> ignored = new LinkedHashSet<>();
    for (Part part : List.of(Part.HEAD, Part.VISION, Part.PROJECTOR)) {
      ModelConfig.QuantTarget target = config.target(part);
      if (groups.stream().noneMatch(g -> g.targets().contains(target.modules()))) {
        ignored.addAll(target.ignored());
      }
    }
    ignored.forEach(out::add);
  }

  private static void arguments(
      ObjectNode w, int bits, int size, boolean symmetric, boolean dynamic) {
    w.put("num_bits", bits).put("type", "int").put("symmetric", symmetric);
    w.put("strategy", size == -1 ? "channel" : "group");
    if (size == -1) {
      w.putNull("group_size");
    } else {
      w.put("group_size", size);
    }
    w.put("dynamic", dynamic);
  }

  /**
   * Reads the block.
   *
   * @param headDim width of a head
   * @throws GraceException data, if the folder is not a pack-quantized one, or its cache is to be
   *     rounded in another way than to 8 bits with a scale for each head and position
   */
  static Scheme read(Path folder, int headDim) {
    JsonNode q;
    try {
      q = new ObjectMapper().readTree(Files.readAllBytes(folder.resolve("config.json"))).path(KEY);
    } catch (IOException e) {
      throw GraceException.data("config.json: cannot be read").withCause(e);
    }
    List<Group> groups = new ArrayList<>();
    for (JsonNode group : q.path("config_groups")) {
      groups.add(group(group));
    }
    if (!q.path("format").asText().equals("pack-quantized") || groups.isEmpty()) {
      throw refused();
    }
    return new Scheme(List.copyOf(groups), kvBits(q.path("kv_cache_scheme"), headDim));
  }

  private static Group group(JsonNode node) {
    JsonNode w = node.path("weights");
    String strategy = w.path("strategy").asText();
    int bits = w.path("num_bits").asInt();
    int size = strategy.equals("channel") ? -1 : w.path("group_size").asInt();
    if (!w.path("symmetric").isBoolean()
        || !(strategy.equals("channel") || strategy.equals("group"))
        || bits < 2
        || bits > 8
        || (size != -1 && size < 1)) {
      throw refused();
    }
    List<String> targets = new ArrayList<>();
    node.path("targets").forEach(t -> targets.add(t.asText()));
    return new Group(List.copyOf(targets), bits, size, w.path("symmetric").asBoolean());
  }

  private static GraceException refused() {
    return GraceException.data(
        "config.json: quantization_config is not pack-quantized with group or channel"
            + " scales of 2 to 8 bits");
  }

  private static int kvBits(JsonNode scheme, int headDim) {
    if (scheme.isMissingNode() || scheme.isNull()) {
      return 16;
    }
    if (scheme.path("num_bits").asInt() != 8
        || !scheme.path("type").asText().equals("int")
        || !scheme.path("symmetric").asBoolean()
        || !scheme.path("dynamic").asBoolean()
        || !scheme.path("strategy").asText().equals("group")
        || scheme.path("group_size").asInt() != headDim) {
      throw GraceException.data(
          "config.json: kv_cache_scheme is %s; allowed: null, or symmetric dynamic int of 8 bits in"
              + " groups of the head's %d numbers",
          scheme, headDim);
    }
    return 8;
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
