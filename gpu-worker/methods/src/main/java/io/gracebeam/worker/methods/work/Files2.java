package io.gracebeam.worker.methods.work;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** File helpers whose errors carry a category. */
public final class Files2 {
  /**
   * What a model folder holds beside its weights and config.json, and what travels with every
   * derived model.
   */
  public static final List<String> SIDE_FILES =
      List.of(
          "tokenizer.json",
          "tokenizer_config.json",
          "special_tokens_map.json",
          "added_tokens.json",
          "tokenizer.model",
          "preprocessor_config.json",
          "processor_config.json",
          "generation_config.json",
          "chat_template.json",
          "chat_template.jinja");

  private Files2() {}

  /** Writes a text file. */
  public static void write(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw GraceException.environment("cannot write %s: %s", file, e.getMessage()).withCause(e);
    }
  }

  /** Creates a folder and its parents. */
  public static Path folder(Path folder) {
    try {
      return Files.createDirectories(folder);
    } catch (IOException e) {
      throw GraceException.environment("cannot create %s: %s", folder, e.getMessage()).withCause(e);
    }
  }

  /** Copies tokenizer and processor files that the model folder has. */
  public static void copySideFiles(Path from, Path to) {
    for (String name : SIDE_FILES) {
      Path file = from.resolve(name);
      if (Files.exists(file)) {
        try {
          Files.write(to.resolve(name), Files.readAllBytes(file));
        } catch (IOException e) {
          throw GraceException.environment("cannot copy %s: %s", file, e.getMessage()).withCause(e);
        }
      }
    }
  }

  /**
   * The Hugging Face folder of an artifact: its {@code model} subfolder if there is one (a trained
   * folder), else itself.
   */
  public static Path modelFolder(Path artifact) {
    Path inner = artifact.resolve("model");
    return Files.isDirectory(inner) ? inner : artifact;
  }

  /** An input by role. */
  public static Path input(java.util.Map<String, Path> inputs, String role) {
    Path p = inputs.get(role);
    if (p == null) {
      throw GraceException.user(
          "input \"%s\" is missing; given are %s", role, new java.util.TreeMap<>(inputs).keySet());
    }
    return p;
  }
}
