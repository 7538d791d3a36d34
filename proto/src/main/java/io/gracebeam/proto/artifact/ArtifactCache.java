package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Copies of artifacts from blob stores, by digest: {@code blobs/SHA256} are files, {@code
 * trees/SHA256} folders made of links to them. Shared by all threads and processes of a machine. A
 * copy is hashed when a process first uses it and whenever it was touched since; one that does not
 * match is fetched again, once.
 */
final class ArtifactCache {
  private static final int FETCHES = 2;
  private static final int BUFFER_BYTES = 1 << 16;

  private final Path blobs;
  private final Path trees;
  private final Scratch scratch;
  private final DigestMemo digests = new DigestMemo();
  private final ConcurrentHashMap<String, Object> locks = new ConcurrentHashMap<>();

  /**
   * A cache in a folder, which is made where it is missing.
   *
   * @throws GraceException (environment) if it cannot be written
   */
  ArtifactCache(Path root) {
    Path folder = root.toAbsolutePath().normalize();
    try {
      blobs = Files.createDirectories(folder.resolve("blobs"));
      trees = Files.createDirectories(folder.resolve("trees"));
      scratch = Scratch.open(folder.resolve("tmp"));
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(folder, e);
    }
  }

  /** Where copies and new artifacts are written before they are complete. */
  Scratch scratch() {
    return scratch;
  }

  /** Whether a path is a copy in this cache. */
  boolean holds(Path path) {
    return blobs.equals(path.getParent()) || trees.equals(path.getParent());
  }

  /** A local copy of an artifact, with the digest of {@code ref}. */
  Path fetch(ArtifactRef ref) {
    Place place = Place.of(ref);
    BlobStore store = BlobStores.open(place.root());
    if (!place.folder()) {
      requireDigest(ref, place.sha256());
      return blob(store, place, place.sha256());
    }
    Tree tree = tree(ref);
    Path target = trees.resolve(ref.getSha256());
    synchronized (lock(ref.getSha256())) {
      try {
        if (Files.exists(target)) {
          if (digests.sha256(target).equals(ref.getSha256())) {
            return target;
          }
          Scratch.remove(target);
        }
        Path temp = Files.createDirectory(scratch.fresh(ref.getSha256()));
        try {
          for (Map.Entry<String, String> file : tree.files().entrySet()) {
            Path link = temp.resolve(file.getKey());
            Files.createDirectories(link.getParent());
            link(link, blob(store, place, file.getValue()));
          }
          moveIfAbsent(temp, target);
        } finally {
          scratch.abandon(temp);
        }
      } catch (IOException e) {
        throw ArtifactStore.cannotWrite(target, e);
      }
      requireDigest(ref, digests.sha256(target));
      return target;
    }
  }

  /** A local copy of one file of a folder. */
  Path fetch(ArtifactRef ref, String file) {
    Place place = Place.of(ref);
    String sha256 = tree(ref).files().get(file);
    if (sha256 == null) {
      throw GraceException.data("%s: holds no file %s", ref.getUri(), file);
    }
    return blob(BlobStores.open(place.root()), place, sha256);
  }

  /** The files of a folder artifact, or of a folder in one; checked against the reference. */
  Tree tree(ArtifactRef ref) {
    Place place = Place.of(ref);
    Tree tree = tree(place);
    requireDigest(ref, tree.sha256());
    return tree;
  }

  /** The files of a folder artifact, or of a folder in one. */
  Tree tree(Place place) {
    if (!place.folder()) {
      throw GraceException.data("%s: is one file; a folder is asked for", place.name());
    }
    BlobStore store = BlobStores.open(place.root());
    Path text = copy(store, place, place.name(), place.sha256());
    try {
      Tree whole = Tree.parse(place.root() + "/" + place.name(), Files.readString(text));
      return place.inside().isEmpty() ? whole : whole.below(place.inside());
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(text, e);
    }
  }

  private Path blob(BlobStore store, Place place, String sha256) {
    return copy(store, place, BlobContents.BLOBS + sha256, sha256);
  }

  /** A copy of a blob; what does not have the digest is removed and fetched again, once. */
  private Path copy(BlobStore store, Place place, String name, String sha256) {
    Path target = blobs.resolve(sha256);
    String is = "";
    synchronized (lock(sha256)) {
      for (int fetches = 0; fetches < FETCHES; fetches++) {
        try {
          if (!Files.exists(target)) {
            download(store, place, name, target);
          }
          is = digests.sha256(target);
          if (is.equals(sha256)) {
            return target;
          }
          Scratch.remove(target);
        } catch (IOException e) {
          throw ArtifactStore.cannotWrite(target, e);
        }
      }
    }
    throw GraceException.data(
        "%s/%s: its bytes have the digest %s, also when fetched again; allowed: %s",
        place.root(), name, is, sha256);
  }

  private void download(BlobStore store, Place place, String name, Path target) throws IOException {
    Path temp = scratch.fresh(target.getFileName().toString());
    try {
      try (InputStream in = open(store, place, name);
          OutputStream out = Files.newOutputStream(temp, StandardOpenOption.CREATE_NEW)) {
        copy(in, out, place, name);
      }
      FileBlobs.force(temp);
      moveIfAbsent(temp, target);
    } finally {
      scratch.abandon(temp);
    }
  }

  private static InputStream open(BlobStore store, Place place, String name) {
    try {
      return store.open(name, 0, BlobStore.ALL);
    } catch (NoSuchFileException e) {
      throw GraceException.data(
              "%s/%s: is missing; run the stage that made it again", place.root(), name)
          .withCause(e);
    } catch (IOException e) {
      throw unreachable(place, name, e);
    }
  }

  private static void copy(InputStream in, OutputStream out, Place place, String name)
      throws IOException {
    byte[] buffer = new byte[BUFFER_BYTES];
    while (true) {
      int read;
      try {
        read = in.read(buffer);
      } catch (IOException e) {
        throw unreachable(place, name, e);
      }
      if (read < 0) {
        return;
      }
      out.write(buffer, 0, read);
    }
  }

  private static GraceException unreachable(Place place, String name, IOException e) {
    return GraceException.environment(
            "%s/%s: cannot be read (%s)", place.root(), name, Digests.reason(e))
        .withCause(e);
  }

  private static void requireDigest(ArtifactRef ref, String is) {
    if (!is.equals(ref.getSha256())) {
      throw GraceException.data(
          "%s: has the digest %s; the reference says %s", ref.getUri(), is, ref.getSha256());
    }
  }

  private static void link(Path link, Path blob) throws IOException {
    try {
      Files.createLink(link, blob);
    } catch (UnsupportedOperationException | FileSystemException e) {
      Files.copy(blob, link);
    }
  }

  private static void moveIfAbsent(Path temp, Path target) throws IOException {
    try {
      Files.move(temp, target, StandardCopyOption.ATOMIC_MOVE);
    } catch (FileAlreadyExistsException e) {
      return; // Another process was faster.
    } catch (IOException e) {
      if (!Files.exists(target)) {
        throw e;
      }
    }
  }

  private Object lock(String sha256) {
    return locks.computeIfAbsent(sha256, key -> new Object());
  }
}
