package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** {@code --name value} pairs with defaults. */
final class BenchOptions {
  private static final String FILE = "--json";

  private final Map<String, String> values = new LinkedHashMap<>();
  private final String usage;

  /**
   * Reads arguments; the file of {@code --json} must have a folder before anything is measured.
   *
   * @param defaults every allowed name with its default
   * @throws GraceException user, for an unknown name or a missing value
   */
  BenchOptions(String usage, Map<String, String> defaults, String[] args) {
    this.usage = usage.strip();
    values.putAll(defaults);
    for (int i = 1; i < args.length; i += 2) {
      if (i + 1 == args.length || values.replace(args[i], args[i + 1]) == null) {
        throw GraceException.user("%s is unknown or lacks a value; usage: %s", args[i], this.usage);
      }
    }
    String file = values.getOrDefault(FILE, "");
    if (!file.isEmpty() && !Files.isDirectory(Path.of(file).toAbsolutePath().getParent())) {
      throw GraceException.user(
          "%s is '%s'; allowed: a file in a folder that there is", FILE, file);
    }
  }

  String text(String name) {
    return values.get(name);
  }

  String oneOf(String name, String... allowed) {
    String value = values.get(name);
    if (!List.of(allowed).contains(value)) {
      throw GraceException.user("%s is '%s'; allowed: %s", name, value, String.join(", ", allowed));
    }
    return value;
  }

  /** cpu or cuda:N. */
  String device(String name) {
    String value = values.get(name);
    if (!value.matches("cpu|cuda:[0-9]{1,2}")) {
      throw GraceException.user("%s is '%s'; allowed: cpu, cuda:N", name, value);
    }
    return value;
  }

  int positive(String name) {
    String value = values.get(name);
    if (!value.matches("[1-9][0-9]{0,5}")) {
      throw GraceException.user("%s is '%s'; allowed: 1 to 999999", name, value);
    }
    return Integer.parseInt(value);
  }

  static String processors() {
    return Integer.toString(Runtime.getRuntime().availableProcessors());
  }
}
