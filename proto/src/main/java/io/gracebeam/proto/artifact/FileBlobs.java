package io.gracebeam.proto.artifact;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.stream.Stream;

/** Blobs as files of a folder, on a file system that all machines of a run share. */
final class FileBlobs implements BlobStore {
  private final Path root;

  FileBlobs(Path root) {
    this.root = root;
  }

  /** Opens stores with the scheme {@code file}. */
  public static final class Provider implements BlobStoreProvider {

    /** For the service loader. */
    public Provider() {}

    @Override
    public String scheme() {
      return BlobStores.FILE;
    }

    @Override
    public BlobStore open(URI root) throws IOException {
      Path folder = BlobStores.path("store", root).normalize();
      Files.createDirectories(folder);
      return new FileBlobs(folder);
    }
  }

  @Override
  public Optional<Path> folder() {
    return Optional.of(root);
  }

  @Override
  public InputStream open(String name, long offset, long length) throws IOException {
    FileChannel channel = FileChannel.open(root.resolve(name), StandardOpenOption.READ);
    channel.position(offset);
    InputStream rest = Channels.newInputStream(channel);
    return length == ALL ? rest : new Limited(rest, length);
  }

  @Override
  public OptionalLong size(String name) throws IOException {
    try {
      Path file = root.resolve(name);
      return Files.isDirectory(file) ? OptionalLong.empty() : OptionalLong.of(Files.size(file));
    } catch (NoSuchFileException e) {
      return OptionalLong.empty();
    }
  }

  /**
   * A hard link appears at once and never replaces; where links are not supported, threads of this
   * process take turns.
   */
  @Override
  public boolean createIfAbsent(String name, Path content) throws IOException {
    Path file = root.resolve(name);
    Files.createDirectories(file.getParent());
    force(content);
    try {
      Files.createLink(file, content);
    } catch (FileAlreadyExistsException e) {
      return false;
    } catch (UnsupportedOperationException | IOException e) {
      if (!copyIfAbsent(file, content)) {
        return false;
      }
    }
    force(file.getParent());
    return true;
  }

  private static boolean copyIfAbsent(Path file, Path content) throws IOException {
    Path copy = file.resolveSibling(UUID.randomUUID() + ".tmp");
    try {
      Files.copy(content, copy);
      force(copy);
      synchronized (FileBlobs.class) {
        if (Files.exists(file)) {
          return false;
        }
        Files.move(copy, file, StandardCopyOption.ATOMIC_MOVE);
        return true;
      }
    } finally {
      Files.deleteIfExists(copy);
    }
  }

  @Override
  public List<String> list(String prefix) throws IOException {
    Path folder = root.resolve(prefix.substring(0, prefix.lastIndexOf('/') + 1));
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> paths = Files.walk(folder)) {
      return paths
          .filter(Files::isRegularFile)
          .map(path -> root.relativize(path).toString().replace('\\', '/'))
          .filter(name -> name.startsWith(prefix))
          .sorted()
          .toList();
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  /** Forces a file, or the names in a folder, to disk. */
  static void force(Path path) throws IOException {
    if (Files.isDirectory(path) && System.getProperty("os.name").startsWith("Windows")) {
      return;
    }
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  /** At most so many bytes of a stream. */
  private static final class Limited extends java.io.FilterInputStream {
    private long left;

    Limited(InputStream in, long length) {
      super(in);
      this.left = length;
    }

    @Override
    public int read() throws IOException {
      if (left <= 0) {
        return -1;
      }
      int value = super.read();
      left -= value < 0 ? 0 : 1;
      return value;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      if (left <= 0) {
        return length == 0 ? 0 : -1;
      }
      int read = super.read(bytes, offset, (int) Math.min(length, left));
      left -= Math.max(0, read);
      return read;
    }
  }
}
