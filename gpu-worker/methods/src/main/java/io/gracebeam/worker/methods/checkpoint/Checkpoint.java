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
 * ({@link TensorNaming}). Shards must lie in the folder itself; a name that leaves it, also through
 * a link, is refused. Floating-point tensors must be finite, which is seen when they are read.
 */
public final class Checkpoint {
  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";
  private static final long MAX_INDEX = 64 << 20;
  private static final Pattern SHARD_NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,199}");

  /** Where a tensor lies. */
  private record Place(Path file, TensorInfo info, TensorNaming.Piece piece) {
    Tensor of(Tensor whole) {
      return piece.cut() == null ? whole : piece.cut().apply(whole);
    }
  }

  private final Map<String, Place> places;
  private final Map<String, Tensor> loaded = new HashMap<>();

  private Checkpoint(Map<String, Place> places) {
    this.places = places;
  }

  /**
   * Reads all tensors into memory.
   *
   * @throws GraceException DATA for anything wrong with the files, naming file and tensor
   */
  public static Checkpoint load(Path dir, TensorNaming naming) {
    Checkpoint out = open(dir, naming);
    out.places.keySet().forEach(name -> out.loaded.put(name, out.tensor(name)));
    return out;
  }

  /**
   * Reads and checks the headers alone; tensors are read when they are asked for.
   *
   * @throws GraceException DATA for anything wrong with the headers, naming file and tensor
   */
  public static Checkpoint open(Path dir, TensorNaming naming) {
    if (!Files.isDirectory(dir)) {
      throw GraceException.data(
          "%s is no folder; allowed: a Hugging Face model folder", dir.getFileName());
    }
    LinkedHashMap<String, Place> places = new LinkedHashMap<>();
    Path index = dir.resolve(INDEX);
    if (Files.exists(index)) {
      Map<String, Set<String>> shards = readIndex(index);
      for (Map.Entry<String, Set<String>> shard : shards.entrySet()) {
        openFile(inside(dir, shard.getKey()), shard.getValue(), naming, places);
      }
    } else if (Files.exists(dir.resolve(SINGLE))) {
      openFile(inside(dir, SINGLE), null, naming, places);
    } else {
      throw GraceException.data(
          "the model folder %s has no weights; allowed: %s or %s",
          dir.getFileName(), SINGLE, INDEX);
    }
    return new Checkpoint(places);
  }

  /** Canonical names, in the order of the files. */
  public Set<String> names() {
    return Collections.unmodifiableSet(places.keySet());
  }

  /** Tensors by canonical name, in the order of the files; all of them are read. */
  public Map<String, Tensor> tensors() {
    Map<String, Tensor> out = new LinkedHashMap<>();
    places.keySet().forEach(name -> out.put(name, tensor(name)));
    return Collections.unmodifiableMap(out);
  }

  /**
   * One tensor; null where there is none of the name. After {@link #open} each call reads it.
   *
   * @throws GraceException DATA where the file is cut off or a number is not finite
   */
  public Tensor tensor(String name) {
    Place place = places.get(name);
    if (place == null || loaded.containsKey(name)) {
      return loaded.get(name);
    }
    String file = Safetensors.name(place.file);
    try (FileChannel channel = FileChannel.open(place.file, StandardOpenOption.READ)) {
      Tensor tensor = Safetensors.load(channel, place.info, file);
      requireFinite(file, place.info.name(), tensor);
      return place.of(tensor);
    } catch (IOException e) {
      throw Safetensors.unreadable(place.file, e);
    }
  }

  /** Row-major shape of a tensor; null where there is none of the name. */
  public long[] shape(String name) {
    Place place = places.get(name);
    return place == null ? null : place.piece.shape().clone();
  }

  /**
   * A matrix that stays in its file, after every number of it was found to be finite; the caller's
   * to close.
   *
   * @throws GraceException DATA where it is missing, is no matrix of floating-point numbers, or has
   *     one that is not finite
   */
  public TensorRows rows(String name) {
    Place place = places.get(name);
    if (place == null || place.piece.cut() != null || !TensorRows.possible(place.info)) {
      throw GraceException.data("the checkpoint has no matrix of numbers named %s", name);
    }
    return TensorRows.open(place.file, place.info).checked();
  }

  /** Refuses a head whose values differ from the embedding table that it is declared to be. */
  public void requireEqual(String head, String embedding) {
    if (places.containsKey(head)
        && places.containsKey(embedding)
        && !Arrays.equals(tensor(head).floats(), tensor(embedding).floats())) {
      throw GraceException.data(
          "tie_word_embeddings is true but %s and %s differ; allowed: equal values, or false",
          head, embedding);
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

  private static void openFile(
      Path file, Set<String> expected, TensorNaming naming, Map<String, Place> places) {
    String fileName = Safetensors.name(file);
    Map<String, TensorInfo> infos = Safetensors.read(file);
    if (expected != null) {
      checkAgainstIndex(fileName, infos.keySet(), expected);
    }
    for (TensorInfo info : infos.values()) {
      for (TensorNaming.Piece piece : naming.pieces(info)) {
        Place before = places.put(piece.name(), new Place(file, info, piece));
        if (before != null) {
          throw GraceException.data(
              "%s: tensors %s and %s are the same parameter %s",
              fileName, before.info.name(), info.name(), piece.name());
        }
      }
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
        throw notFinite(file, name, values[i], i);
      }
    }
  }

  static GraceException notFinite(String file, String name, float value, long at) {
    return GraceException.data(
        "%s: tensor %s holds %s at element %d; allowed: finite numbers", file, name, value, at);
  }

  private static String printable(String text) {
    String clean = text.replaceAll("[^\\x20-\\x7e]", "?");
    return clean.length() > 80 ? clean.substring(0, 80) + "..." : clean;
  }
}
