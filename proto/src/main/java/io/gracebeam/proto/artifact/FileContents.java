package io.gracebeam.proto.artifact;

import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Contents in a file system: {@code objects/SHA256} is the file or folder itself, renamed into
 * place after it was forced to disk.
 */
final class FileContents implements Contents {
  private final Path objects;
  private final Scratch scratch;

  FileContents(Path root) throws IOException {
    this.objects = Files.createDirectories(root.resolve("objects"));
    Files.createDirectories(root.resolve("keys"));
    this.scratch = Scratch.open(root.resolve("tmp"));
  }

  private record FilePending(Path temp, Path target, String sha256, long bytes) implements Pending {
    @Override
    public void store() throws IOException {
      if (Files.exists(target)) {
        return;
      }
      try {
        Files.move(temp, target, StandardCopyOption.ATOMIC_MOVE);
        FileBlobs.force(target.getParent());
      } catch (AtomicMoveNotSupportedException e) {
        throw e;
      } catch (IOException e) {
        if (!Files.exists(target)) {
          throw e;
        }
        // Another publication of the same content was faster.
      }
    }
  }

  @Override
  public Scratch scratch() {
    return scratch;
  }

  @Override
  public Pending take(Path temp, Map<String, ArtifactRef> parts) throws IOException {
    for (Map.Entry<String, ArtifactRef> part : parts.entrySet()) {
      link(Artifacts.fetch(part.getValue()), temp.resolve(part.getKey()));
    }
    forceTree(temp);
    String sha256 = Digests.sha256(temp);
    return new FilePending(temp, objects.resolve(sha256), sha256, Digests.bytes(temp));
  }

  @Override
  public boolean sees(Path path) {
    return true;
  }

  @Override
  public Optional<URI> find(String sha256) {
    Path object = objects.resolve(sha256);
    return Files.exists(object) ? Optional.of(BlobStores.ofPath(object)) : Optional.empty();
  }

  @Override
  public String hash(URI content) {
    return Digests.sha256(BlobStores.path("artifact", content));
  }

  /** Links the files of an artifact where the file system can, since they never change. */
  static void link(Path from, Path to) throws IOException {
    try (Stream<Path> paths = Files.walk(from)) {
      for (Path path : (Iterable<Path>) paths.sorted()::iterator) {
        Path target = to.resolve(from.relativize(path).toString());
        if (Files.isDirectory(path)) {
          Files.createDirectories(target);
          continue;
        }
        Files.createDirectories(target.getParent());
        try {
          Files.createLink(target, path);
        } catch (UnsupportedOperationException | FileSystemException e) {
          Files.copy(path, target);
        }
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private static void forceTree(Path temp) throws IOException {
    try (Stream<Path> paths = Files.walk(temp)) {
      for (Path path : (Iterable<Path>) paths::iterator) {
        FileBlobs.force(path);
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }
}
