package io.gracebeam.worker.methods.family;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The config.json of a model folder, which is not trusted. A wrong value is a data error that names
 * file, key and what is allowed.
 */
public final class ConfigFile {
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
  private static final String NAME = "config.json";
  private static final long MAX_BYTES = 1 << 20;

  private final JsonNode root;

  private ConfigFile(JsonNode root) {
    this.root = root;
  }

  /**
   * Reads the file.
   *
   * @throws GraceException data, where it is missing, too large, or no JSON object
   */
  public static ConfigFile read(Path folder) {
    Path file = folder.resolve(NAME);
    try {
      if (!Files.isRegularFile(file)) {
        throw GraceException.data(
            "%s is missing in the model folder; a Hugging Face model folder has one", NAME);
      }
      if (Files.size(file) > MAX_BYTES) {
        throw GraceException.data(
            "%s has %d bytes; allowed: at most %d", NAME, Files.size(file), MAX_BYTES);
      }
      JsonNode node = JSON.readTree(Files.readAllBytes(file));
      if (!node.isObject()) {
        throw GraceException.data("%s is not a JSON object", NAME);
      }
      return new ConfigFile(node);
    } catch (JsonProcessingException e) {
      throw GraceException.data(
              "%s is not valid JSON (line %d)",
              NAME, e.getLocation() == null ? 0 : e.getLocation().getLineNr())
          .withCause(e);
    } catch (IOException e) {
      throw GraceException.environment("%s could not be read (%s)", NAME, e.getMessage())
          .withCause(e);
    }
  }

  /**
   * The model_type, which decides on the family.
   *
   * @throws GraceException data, where there is none
   */
  public String modelType() {
    String type = root.path("model_type").asText("");
    if (type.isEmpty()) {
      throw GraceException.data("%s has no model_type", NAME);
    }
    return type;
  }

  /** The whole object. */
  public JsonNode root() {
    return root;
  }

  /** An object inside; one without keys where it is missing. */
  public JsonNode object(String key) {
    return root.path(key);
  }

  /**
   * Refuses a value that is not supported.
   *
   * @param fallback what a missing key means
   * @throws GraceException data, for another value than the one that is allowed
   */
  public static void require(JsonNode node, String key, String fallback, String allowed) {
    String value = node.path(key).asText(fallback);
    if (!value.equals(allowed)) {
      throw GraceException.data("%s: %s is '%s'; allowed: %s", NAME, key, value, allowed);
    }
  }

  /**
   * An integer, or the first of a list.
   *
   * @param fallback what a missing key or null means
   */
  public static int integer(JsonNode node, String key, int fallback) {
    JsonNode value = node.path(key);
    if (value.isMissingNode() || value.isNull()) {
      return fallback;
    }
    if (value.isArray() && !value.isEmpty()) {
      value = value.get(0);
    }
    if (!value.isIntegralNumber() || !value.canConvertToInt()) {
      throw GraceException.data("%s: %s is %s; allowed: an integer of 32 bits", NAME, key, value);
    }
    return value.intValue();
  }

  /**
   * An integer that must be there.
   *
   * @throws GraceException data, where it is missing
   */
  public static int integer(JsonNode node, String key) {
    JsonNode value = node.path(key);
    if (value.isMissingNode() || value.isNull()) {
      throw GraceException.data("%s: %s is missing; allowed: an integer", NAME, key);
    }
    return integer(node, key, 0);
  }

  /**
   * A number.
   *
   * @param fallback what a missing key or null means
   */
  public static double number(JsonNode node, String key, double fallback) {
    JsonNode value = node.path(key);
    if (value.isMissingNode() || value.isNull()) {
      return fallback;
    }
    if (!value.isNumber()) {
      throw GraceException.data("%s: %s is %s; allowed: a number", NAME, key, value);
    }
    return value.doubleValue();
  }

  /** Writes config.json and generation_config.json. */
  public static void write(Path folder, ObjectNode config, ObjectNode generation) {
    try {
      Files.createDirectories(folder);
      Files.write(folder.resolve(NAME), JSON.writeValueAsBytes(config));
      Files.write(folder.resolve("generation_config.json"), JSON.writeValueAsBytes(generation));
    } catch (IOException e) {
      throw GraceException.environment(
              "the model configuration could not be written to %s (%s)",
              folder.getFileName(), e.getClass().getSimpleName())
          .withCause(e);
    }
  }

  /** An empty object, to be written. */
  public static ObjectNode newObject() {
    return JSON.createObjectNode();
  }
}
