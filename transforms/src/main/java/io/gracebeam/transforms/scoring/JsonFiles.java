package io.gracebeam.transforms.scoring;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Reads JSON and JSON lines, with or without a byte-order mark, with one-line errors. */
final class JsonFiles {
  private static final ObjectMapper MAPPER =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

  private JsonFiles() {}

  static String text(Path file) {
    try {
      String text = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
      return text.startsWith("\uFEFF") ? text.substring(1) : text;
    } catch (IOException e) {
      throw GraceException.data("cannot read %s: %s", file, e.getMessage());
    }
  }

  static JsonNode object(Path file) {
    JsonNode node = parse(file, 1, text(file));
    if (!node.isObject()) {
      throw GraceException.data("%s: a JSON object is expected at the top", file);
    }
    return node;
  }

  /** One object per line; empty lines are skipped. */
  static List<JsonNode> lines(Path file) {
    List<JsonNode> rows = new ArrayList<>();
    int number = 0;
    for (String line : text(file).split("\n", -1)) {
      number++;
      if (!line.isBlank()) {
        JsonNode row = parse(file, number, line);
        if (!row.isObject()) {
          throw GraceException.data("%s line %d: a JSON object is expected", file, number);
        }
        rows.add(row);
      }
    }
    return rows;
  }

  private static JsonNode parse(Path file, int line, String text) {
    try {
      JsonNode node = MAPPER.readTree(text);
      return node;
    } catch (JsonProcessingException e) {
      throw GraceException.data("%s line %d: not JSON: %s", file, line, e.getOriginalMessage());
    }
  }

  /** The text (or number, as text) under {@code key}. */
  static String required(JsonNode row, String key, Path file, String where) {
    JsonNode value = row.get(key);
    if (value == null || !(value.isTextual() || value.isNumber())) {
      throw GraceException.data("%s %s: key %s is missing or not a text", file, where, key);
    }
    return value.asText();
  }

  static String optional(JsonNode row, String key) {
    JsonNode value = row.get(key);
    return value == null || value.isNull() ? "" : value.asText();
  }
}
