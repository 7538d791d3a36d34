package io.gracebeam.proto.artifact;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.UUID;
import java.util.stream.Stream;

/** A folder for what is being written; entries of crashed processes are removed after a day. */
final class Scratch {
  private static final Duration STALE = Duration.ofHours(24);

  private final Path folder;

  private Scratch(Path folder) {
    this.folder = folder;
  }

  /** Makes the folder and removes entries in which nothing was written for a day. */
  static Scratch open(Path folder) throws IOException {
    Files.createDirectories(folder);
    Scratch scratch = new Scratch(folder);
    scratch.removeStale();
    return scratch;
  }

  Path folder() {
    return folder;
  }

  /** A path at which nothing exists yet. */
  Path fresh(String name) {
    return folder.resolve(name + "." + UUID.randomUUID());
  }

  /** Whether this is an entry of the folder. */
  boolean holds(Path entry) {
    return folder.equals(entry.toAbsolutePath().normalize().getParent());
  }

  /** Removes an entry. Never throws: what is left goes with the stale entries. */
  void abandon(Path entry) {
    if (!holds(entry)) {
      return;
    }
    try {
      remove(entry);
    } catch (IOException e) {
      // The reason why it is abandoned is the error to tell.
    }
  }

  /** Removes a file or a folder with all that it holds. */
  static void remove(Path path) throws IOException {
    if (!Files.exists(path)) {
      return;
    }
    try (Stream<Path> paths = Files.walk(path)) {
      for (Path each : (Iterable<Path>) paths.sorted(Comparator.reverseOrder())::iterator) {
        Files.deleteIfExists(each);
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private void removeStale() throws IOException {
    Instant limit = Instant.now().minus(STALE);
    try (Stream<Path> entries = Files.list(folder)) {
      for (Path entry : (Iterable<Path>) entries::iterator) {
        if (lastWrite(entry).isBefore(limit)) {
          abandon(entry);
        }
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private static Instant lastWrite(Path entry) {
    Instant last = Instant.MIN;
    try (Stream<Path> paths = Files.walk(entry)) {
      for (Path path : (Iterable<Path>) paths::iterator) {
        Instant time = Files.getLastModifiedTime(path).toInstant();
        last = time.isAfter(last) ? time : last;
      }
      return last;
    } catch (IOException | UncheckedIOException e) {
      return Instant.MAX; // Somebody is moving it away just now.
    }
  }
}
