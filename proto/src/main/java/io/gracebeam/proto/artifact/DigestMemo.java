package io.gracebeam.proto.artifact;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;

/**
 * Digests of files and folders that were hashed before. A digest holds for as long as names, sizes
 * and modification times below its path stay what they were. Safe for use by several threads.
 */
public final class DigestMemo {
  private static final int MOST_REMEMBERED = 1000;

  private record Known(String stamp, String digest) {}

  private final ConcurrentHashMap<Path, Known> known = new ConcurrentHashMap<>();

  /** An empty memory. */
  public DigestMemo() {}

  /**
   * The SHA-256 of a file or folder.
   *
   * @throws io.gracebeam.proto.error.GraceException (data) as {@link Digests#sha256(Path)}
   * @throws UncheckedIOException if its names and sizes cannot be read
   */
  public String sha256(Path path) {
    if (known.size() > MOST_REMEMBERED) {
      known.clear();
    }
    return Objects.requireNonNull(
            known.compute(
                path,
                (key, old) -> {
                  String stamp = stamp(key);
                  return old != null && old.stamp().equals(stamp)
                      ? old
                      : new Known(stamp, Digests.sha256(key));
                }))
        .digest();
  }

  /** Names, sizes and modification times below a path, hashed. */
  private static String stamp(Path path) {
    try (Stream<Path> walk = Files.walk(path, FileVisitOption.FOLLOW_LINKS)) {
      MessageDigest sum = Digests.newDigest();
      for (Path file : (Iterable<Path>) walk.filter(Files::isRegularFile).sorted()::iterator) {
        String line =
            path.relativize(file)
                + "\0"
                + Files.size(file)
                + "\0"
                + Files.getLastModifiedTime(file)
                + "\n";
        sum.update(line.getBytes(StandardCharsets.UTF_8));
      }
      return HexFormat.of().formatHex(sum.digest());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
