package io.gracebeam.worker.methods.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;

/**
 * The weights of a Hugging Face folder, with or without a shard index, under canonical names
 * ({@link TensorNames}). Shards must lie in the folder itself; a name that leaves it, also through
 * a link, is refused. Floating-point tensors must be finite.
 */
public final class Checkpoint {
  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";
  private static final long MAX_INDEX = 64 << 20;
  private static final Pattern SHARD_NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,199}");
  private static final String EMBEDDING = "language_model.model.embed_tokens.weight";
  private static final String HEAD = "language_model.lm_head.weight";

  private final LinkedHashMap<String, Tensor> tensors;

  private Checkpoint(LinkedHashMap<String, Tensor> tensors) {
    this.tensors = tensors;
  }

  /**
   * Loads everything.
   *
   * @throws GraceException DATA for anything wrong with the files, naming file and tensor
   */
  public static Checkpoint load(Path dir) {
    if (!Files.isDirectory(dir)) {
      throw GraceException.data(
          "%s is no folder; allowed: a Hugging Face model folder", dir.getFileName());
    }
    LinkedHashMap<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, String> origin = new HashMap<>();
    Path index = dir.resolve(INDEX);
    if (Files.exists(index)) {
      Map<String, Set<String>> shards = readIndex(index);
      for (Map.Entry<String, Set<String>> shard : shards.entrySet()) {
        loadFile(inside(dir, shard.getKey()), shard.getValue(), tensors, origin);
      }
    } else if (Files.exists(dir.resolve(SINGLE))) {
      loadFile(inside(dir, SINGLE), null, tensors, origin);
    } else {
      throw GraceException.data(
          "the model folder %s has no weights; allowed: %s or %s",
          dir.getFileName(), SINGLE, INDEX);
    }
    return new Checkpoint(tensors);
  }

  /** Tensors by canonical name, in the order of the files. */
  public Map<String, Tensor> tensors() {
    return Collections.unmodifiableMap(tensors);
  }

  /** Refuses a head whose values differ from the embedding table it is declared to be tied to. */
  public void requireTied(boolean tied) {
    Tensor head = tensors.get(HEAD);
    Tensor embedding = tensors.get(EMBEDDING);
    if (tied
        && head != null
        && embedding != null
        && !Arrays.equals(head.floats(), embedding.floats())) {
      throw GraceException.data(
          "tie_word_embeddings is true but %s and %s differ; allowed: equal values, or false",
          HEAD, EMBEDDING);
    }
  }

  private static Map<String, Set<String>> readIndex(Path index) {
    JsonNode map;
    try {
      if (Files.size(index) > MAX_INDEX) {
        throw GraceException.data(
            "%s has %d bytes; allowed: at most %d", INDEX, Files.size(index), MAX_INDEX);
      }
      map = new ObjectMapper().readTree(Files.readAllBytes(index)).path("weight_map");
    } catch (JsonProcessingException e) {
      throw GraceException.data("%s is not valid JSON", INDEX).withCause(e);
    } catch (IOException e) {
      throw Safetensors.unreadable(index, e);
    }
    if (!map.isObject() || map.isEmpty()) {
      throw GraceException.data("%s has no weight_map", INDEX);
    }
    Map<String, Set<String>> shards = new LinkedHashMap<>();
    for (Map.Entry<String, JsonNode> entry : map.properties()) {
      String shard = entry.getValue().asText();
      if (!SHARD_NAME.matcher(shard).matches()) {
        throw GraceException.data(
            "%s: tensor %s lies in '%s', outside the model folder; allowed: a plain file name",
            INDEX, entry.getKey(), printable(shard));
      }
      shards.computeIfAbsent(shard, key -> new TreeSet<>()).add(entry.getKey());
    }
    return shards;
  }

  /**
   * The file, if it exists and (links followed) is a regular file of the folder or of the folder's
   * own file store.
   */
  private static Path inside(Path dir, String name) {
    Path file = dir.resolve(name);
    if (!Files.exists(file)) {
      throw GraceException.data("shard %s, which %s names, is missing", name, INDEX);
    }
    try {
      Path real = file.toRealPath();
      if (!real.getParent().equals(dir.toRealPath()) || !Files.isRegularFile(real)) {
        throw GraceException.data(
            "%s leads outside the model folder; allowed: a regular file in it", name);
      }
      return real;
    } catch (IOException e) {
      throw Safetensors.unreadable(file, e);
    }
  }

  private static void loadFile(
      Path file, Set<String> expected, Map<String, Tensor> tensors, Map<String, String> origin) {
    String fileName = Safetensors.name(file);
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      Map<String, TensorInfo> infos = Safetensors.readHeader(channel, fileName);
      if (expected != null) {
        checkAgainstIndex(fileName, infos.keySet(), expected);
      }
      for (TensorInfo info : infos.values()) {
        String canonical = TensorNames.canonical(info.name());
        if (canonical == null) {
          continue;
        }
        String before = origin.put(canonical, info.name());
        if (before != null) {
          throw GraceException.data(
              "%s: tensors %s and %s are the same parameter %s",
              fileName, before, info.name(), canonical);
        }
        Tensor tensor = Safetensors.load(channel, info, fileName);
        requireFinite(fileName, info.name(), tensor);
        tensors.put(canonical, tensor);
      }
    } catch (IOException e) {
      throw Safetensors.unreadable(file, e);
    }
  }

  private static void checkAgainstIndex(String file, Set<String> present, Set<String> expected) {
    Set<String> missing = new TreeSet<>(expected);
    missing.removeAll(present);
    if (!missing.isEmpty()) {
      throw GraceException.data(
          "%s lacks tensor %s, which %s places there", file, missing.iterator().next(), INDEX);
    }
    Set<String> extra = new HashSet<>(present);
    extra.removeAll(expected);
    if (!extra.isEmpty()) {
      throw GraceException.data(
          "%s holds tensor %s, which %s does not place there",
          file, new TreeSet<>(extra).first(), INDEX);
    }
  }

  private static void requireFinite(String file, String name, Tensor tensor) {
    if (!tensor.dtype().floating()) {
      return;
    }
    float[] values = tensor.floats();
    for (int i = 0; i < values.length; i++) {
      if (!Float.isFinite(values[i])) {
        throw GraceException.data(
            "%s: tensor %s holds %s at element %d; allowed: finite numbers",
            file, name, values[i], i);
      }
    }
  }

  private static String printable(String text) {
    String clean = text.replaceAll("[^\\x20-\\x7e]", "?");
    return clean.length() > 80 ? clean.substring(0, 80) + "..." : clean;
  }
}
