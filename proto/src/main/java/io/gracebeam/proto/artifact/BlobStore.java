package io.gracebeam.proto.artifact;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Blobs under names in one place: all that {@link ArtifactStore} asks of a file system or object
 * store. A name is a few parts with {@code /} between them, for instance {@code keys/KEY.json}. A
 * blob never changes once it is there.
 *
 * <p>Used by many threads at once. An {@link IOException} means that the outcome is not known: the
 * caller tries again. Only {@link #list} may lag behind what was written.
 */
public interface BlobStore {

  /** To read to the end. */
  long ALL = Long.MAX_VALUE;

  /**
   * Opens a blob.
   *
   * @param offset first byte, at most the blob's size
   * @param length most bytes to give; {@link #ALL} for the rest
   * @throws NoSuchFileException if there is no blob with this name
   */
  InputStream open(String name, long offset, long length) throws IOException;

  /** Size of a blob in bytes; empty if there is none with this name. */
  OptionalLong size(String name) throws IOException;

  /**
   * Creates a blob, which appears whole or not at all. Of writers at the same time one succeeds.
   *
   * @param content a file of this machine, which stays as it is
   * @return false if there was a blob with this name, which stays as it is; its content may be
   *     other
   */
  boolean createIfAbsent(String name, Path content) throws IOException;

  /** Names that start with {@code prefix}, sorted. The newest may be missing. */
  List<String> list(String prefix) throws IOException;

  /**
   * The root as a folder, for a store in the file system of this machine. Artifacts are then moved
   * into it and used where they lie, without copies.
   */
  default Optional<Path> folder() {
    return Optional.empty();
  }
}
