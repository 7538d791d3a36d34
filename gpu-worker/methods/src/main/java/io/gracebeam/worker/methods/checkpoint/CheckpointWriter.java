package io.gracebeam.worker.methods.checkpoint;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/** Writes the weights of a Hugging Face folder; the same tensors always give the same bytes. */
public final class CheckpointWriter {
  /** Largest shard, as in Hugging Face's own writers. */
  public static final long MAX_SHARD_BYTES = 5_000_000_000L;

  private CheckpointWriter() {}

  /** Writes `model.safetensors`, or shards and an index above {@link #MAX_SHARD_BYTES}. */
  public static void write(Path dir, SortedMap<String, Tensor> tensors) {
    write(dir, tensors, MAX_SHARD_BYTES);
  }

  /**
   * Writes shards of at most this size in bytes, and an index if there are several (a larger tensor
   * gets its own shard).
   */
  public static void write(Path dir, SortedMap<String, Tensor> tensors, long maxShardBytes) {
    List<SortedMap<String, Tensor>> shards = new ArrayList<>();
    long used = Long.MAX_VALUE;
    long total = 0;
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      long bytes = entry.getValue().data().limit();
      total += bytes;
      if (used > maxShardBytes - bytes) {
        shards.add(new TreeMap<>());
        used = 0;
      }
      shards.get(shards.size() - 1).put(entry.getKey(), entry.getValue());
      used += bytes;
    }
    try {
      Files.createDirectories(dir);
      if (shards.size() == 1) {
        Safetensors.write(dir.resolve("model.safetensors"), shards.get(0));
        return;
      }
      ObjectMapper json = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
      var root = json.createObjectNode();
      root.putObject("metadata").put("total_size", total);
      Map<String, String> places = new TreeMap<>();
      for (int i = 0; i < shards.size(); i++) {
        String name = "model-%05d-of-%05d.safetensors".formatted(i + 1, shards.size());
        Safetensors.write(dir.resolve(name), shards.get(i));
        shards.get(i).keySet().forEach(tensor -> places.put(tensor, name));
      }
      var map = root.putObject("weight_map");
      places.forEach(map::put);
      Files.write(dir.resolve("model.safetensors.index.json"), json.writeValueAsBytes(root));
    } catch (IOException e) {
      throw GraceException.environment(
              "the weights could not be written to %s (%s)", dir.getFileName(), e.getMessage())
          .withCause(e);
    }
  }
}
