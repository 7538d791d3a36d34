package io.gracebeam.worker.methods.training;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.model.LlavaConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;

/** Token ids of a folder's tokenizer.json, added tokens included. */
record Vocabulary(Map<String, Integer> ids) {
  /** Reads tokenizer.json. */
  static Vocabulary read(Path folder) {
    try {
      JsonNode root =
          new ObjectMapper().readTree(Files.readAllBytes(folder.resolve("tokenizer.json")));
      Map<String, Integer> ids = new TreeMap<>();
      root.path("model")
          .path("vocab")
          .properties()
          .forEach(e -> ids.put(e.getKey(), e.getValue().asInt()));
      for (JsonNode t : root.path("added_tokens")) {
        ids.put(t.path("content").asText(), t.path("id").asInt());
      }
      return new Vocabulary(ids);
    } catch (IOException e) {
      throw GraceException.data("tokenizer.json: cannot be read").withCause(e);
    }
  }

  /** A model configuration of the given shape with this vocabulary. */
  LlavaConfig config(ModelShape shape) {
    int size = ids.values().stream().mapToInt(Integer::intValue).max().orElse(0) + 1;
    return LlavaConfig.of(shape, size, id("<image>"), id("<s>"), id("</s>"), id("<pad>"));
  }

  private int id(String token) {
    Integer id = ids.get(token);
    if (id == null) {
      throw GraceException.data("tokenizer.json: token %s is missing", token);
    }
    return id;
  }
}
