package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.net.URI;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * The folder of one run: {@code recipe.resolved.yaml}, {@code stages.jsonl}, {@code ledger.jsonl},
 * {@code report.json}, {@code report.html}, and the artifact store. Only one process at a time
 * writes to it.
 */
public final class RunFolder implements AutoCloseable {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path root;
  private final URI store;
  private final FileChannel channel;
  private final FileLock lock;

  private RunFolder(Path root, URI store, FileChannel channel, FileLock lock) {
    this.root = root;
    this.store = store;
    this.channel = channel;
    this.lock = lock;
  }

  /** Makes and locks a run folder whose store lies in it. */
  public static RunFolder open(Path folder) {
    return open(folder, Optional.empty());
  }

  /**
   * Makes and locks a run folder.
   *
   * @param store URI of the artifact store; empty: {@code store} in the folder
   * @throws GraceException (environment) if it cannot be written, (user) if another run holds it
   */
  public static RunFolder open(Path folder, Optional<URI> store) {
    Path root = folder.toAbsolutePath().normalize();
    FileChannel channel = null;
    try {
      Files.createDirectories(root);
      channel =
          FileChannel.open(
              root.resolve(".lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      FileLock lock = channel.tryLock();
      if (lock != null) {
        return new RunFolder(
            root, store.orElse(Artifacts.uri(root.resolve("store"))), channel, lock);
      }
      channel.close();
    } catch (OverlappingFileLockException e) {
      close(channel);
    } catch (IOException e) {
      close(channel);
      throw GraceException.environment(
              "%s: cannot be written (%s); name a folder that you may write with --out",
              root, reason(e))
          .withCause(e);
    }
    throw GraceException.user(
        "%s: another run is at work in it; wait for it, or name another folder with --out", root);
  }

  /** Absolute path. */
  public Path root() {
    return root;
  }

  /** URI of the store with the run's artifacts. */
  public URI store() {
    return store;
  }

  /** An empty folder for results of this attempt; what an earlier attempt left there is gone. */
  public Path freshResults() {
    Path results = root.resolve("results");
    try {
      if (Files.exists(results)) {
        try (Stream<Path> old = Files.walk(results)) {
          for (Path path : old.sorted(Comparator.reverseOrder()).toList()) {
            Files.delete(path);
          }
        }
      }
      return Files.createDirectories(results);
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be emptied: %s", results, reason(e))
          .withCause(e);
    }
  }

  /** Writes a text file at once: readers see the old one or the new one. */
  public void write(String name, String text) {
    Path file = root.resolve(name);
    Path temporary = root.resolve(name + ".tmp");
    try {
      Files.writeString(temporary, text);
      Files.move(
          temporary, file, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be written: %s", file, reason(e)).withCause(e);
    }
  }

  /** Writes one JSON object per line. */
  public void writeLines(String name, List<?> rows) {
    StringBuilder text = new StringBuilder();
    try {
      for (Object row : rows) {
        text.append(JSON.writeValueAsString(row)).append('\n');
      }
    } catch (IOException e) {
      throw GraceException.bug("%s: a row cannot be written as JSON: %s", name, reason(e))
          .withCause(e);
    }
    write(name, text.toString());
  }

  @Override
  public void close() {
    try {
      lock.release();
    } catch (IOException e) {
      // The lock ends with the channel.
    }
    close(channel);
  }

  private static void close(FileChannel channel) {
    if (channel != null) {
      try {
        channel.close();
      } catch (IOException e) {
        // Nothing was written through it.
      }
    }
  }

  private static String reason(IOException e) {
    return e.getClass().getSimpleName() + ": " + e.getMessage();
  }
}
