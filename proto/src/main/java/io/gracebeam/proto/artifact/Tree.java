package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The files of a folder by relative name, with their digests. Its text is what {@link
 * Digests#sha256(Path)} hashes for a folder, so a tree's own digest is that of the folder.
 *
 * @param files relative name, with {@code /}, to the SHA-256 of the file
 */
record Tree(SortedMap<String, String> files) {
  private static final String GAP = "  ";
  private static final int NAME = 64 + GAP.length();

  Tree {
    files = new TreeMap<>(files);
  }

  /** Hashes the files of a folder. */
  static Tree of(Path folder) throws IOException {
    SortedMap<String, String> files = new TreeMap<>();
    for (Path file : Digests.files(folder)) {
      files.put(Digests.relativeName(folder, file), Digests.ofFile(file));
    }
    return new Tree(files);
  }

  /**
   * Reads a text of {@link #text}.
   *
   * @param where names the text in the error
   */
  static Tree parse(String where, String text) {
    SortedMap<String, String> files = new TreeMap<>();
    for (String line : text.lines().toList()) {
      if (!line.matches("[0-9a-f]{64}  .+") || !inside(line.substring(NAME))) {
        throw GraceException.data(
            "%s: '%s' is no line of a list of files; allowed: SHA-256, two spaces, relative name",
            where, line);
      }
      files.put(line.substring(NAME), line.substring(0, 64));
    }
    return new Tree(files);
  }

  /** Whether a name stays in the folder that it is relative to. */
  private static boolean inside(String name) {
    Path path = Path.of(name);
    return !path.isAbsolute() && path.normalize().equals(path) && !path.startsWith("..");
  }

  /** A line per file: digest, two spaces, name; in the order of the lines' UTF-8 bytes. */
  String text() {
    List<byte[]> lines = new ArrayList<>();
    files.forEach(
        (name, sha256) -> lines.add((sha256 + GAP + name + "\n").getBytes(StandardCharsets.UTF_8)));
    lines.sort(Arrays::compareUnsigned);
    StringBuilder text = new StringBuilder();
    lines.forEach(line -> text.append(new String(line, StandardCharsets.UTF_8)));
    return text.toString();
  }

  String sha256() {
    return Digests.sha256(text().getBytes(StandardCharsets.UTF_8));
  }

  /** What lies below a folder of this one, with names relative to it. */
  Tree below(String folder) {
    String prefix = folder + "/";
    SortedMap<String, String> below = new TreeMap<>();
    for (Map.Entry<String, String> file : files.tailMap(prefix).entrySet()) {
      if (!file.getKey().startsWith(prefix)) {
        break;
      }
      below.put(file.getKey().substring(prefix.length()), file.getValue());
    }
    return new Tree(below);
  }

  /** All files of this tree, and those of {@code part} below {@code folder}. */
  Tree with(String folder, Tree part) {
    SortedMap<String, String> all = new TreeMap<>(files);
    part.files.forEach((name, sha256) -> all.put(folder + "/" + name, sha256));
    return new Tree(all);
  }
}
