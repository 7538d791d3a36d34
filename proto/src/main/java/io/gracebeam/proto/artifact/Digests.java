package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;

/** SHA-256 of bytes, files and folders, in lower-case hexadecimal (64 characters). */
public final class Digests {
  private static final int BUFFER_BYTES = 1 << 16;

  private Digests() {}

  /** Digest of a byte array. */
  public static String sha256(byte[] bytes) {
    return HexFormat.of().formatHex(newDigest().digest(bytes));
  }

  /**
   * Digest of a file's content, or of a folder: that of the lines {@code "<sha256> <relative path
   * with />\n"} of all its files, in the order of their UTF-8 bytes. Links to files are followed
   * (Hugging Face caches are made of them); empty folders do not count.
   *
   * @throws GraceException (data) where it does not exist, cannot be read, or holds a name with a
   *     control character
   */
  public static String sha256(Path fileOrFolder) {
    try {
      if (!Files.isDirectory(fileOrFolder)) {
        return ofFile(fileOrFolder);
      }
      return Tree.of(fileOrFolder).sha256();
    } catch (NoSuchFileException e) {
      throw GraceException.data(
              "%s: does not exist; allowed: an existing file or folder", e.getFile())
          .withCause(e);
    } catch (IOException e) {
      throw GraceException.data("%s: cannot be read (%s)", fileOrFolder, reason(e)).withCause(e);
    }
  }

  /** Sum of the sizes of a file, or of a folder's files, in bytes. */
  static long bytes(Path fileOrFolder) throws IOException {
    if (!Files.isDirectory(fileOrFolder)) {
      return Files.size(fileOrFolder);
    }
    long sum = 0;
    for (Path file : files(fileOrFolder)) {
      sum += Files.size(file);
    }
    return sum;
  }

  /** All that is not a folder, at any depth; links are followed, that of the folder itself too. */
  static List<Path> files(Path folder) throws IOException {
    try (Stream<Path> paths = Files.walk(folder, FileVisitOption.FOLLOW_LINKS)) {
      return paths.filter(path -> !Files.isDirectory(path)).toList();
    } catch (java.io.UncheckedIOException e) {
      throw e.getCause();
    }
  }

  static String reason(IOException e) {
    return e.getClass().getSimpleName().replace("Exception", "") + ": " + e.getMessage();
  }

  static String relativeName(Path folder, Path file) {
    String name =
        folder.relativize(file).toString().replace(file.getFileSystem().getSeparator(), "/");
    if (name.chars().anyMatch(c -> Character.isISOControl(c))) {
      throw GraceException.data(
          "%s: the name %s has a control character; allowed: printable names", folder, name);
    }
    return name;
  }

  static String ofFile(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      return ofStream(in);
    }
  }

  static String ofStream(InputStream in) throws IOException {
    MessageDigest digest = newDigest();
    byte[] buffer = new byte[BUFFER_BYTES];
    for (int read = in.read(buffer); read >= 0; read = in.read(buffer)) {
      digest.update(buffer, 0, read);
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  static MessageDigest newDigest() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java platform has SHA-256", e);
    }
  }
}
