package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * From references to files and back. What lies in a file system is used where it lies; what lies in
 * another store is copied to a cache by digest, in the folder that the property {@code grace.cache}
 * or the variable {@code GRACE_CACHE} names, else in {@code ~/.cache/grace-beam}.
 */
public final class Artifacts {
  private static volatile ArtifactCache cache;

  private Artifacts() {}

  /**
   * A reference to a file or folder of this machine, which is hashed.
   *
   * @param kind what it is: "model", "dataset" and so on
   * @throws GraceException (data) if it cannot be read
   */
  public static ArtifactRef given(String kind, Path path) {
    return ArtifactRef.newBuilder()
        .setKind(kind)
        .setSha256(Digests.sha256(path))
        .setUri(BlobStores.ofPath(path).toString())
        .build();
  }

  /** The URI of a file or folder of this machine, without {@code /} at its end. */
  public static URI uri(Path path) {
    return BlobStores.ofPath(path);
  }

  /**
   * The URI of a reference.
   *
   * @throws GraceException (user) if it is none, or has a scheme that no store offers
   */
  public static URI uri(ArtifactRef ref) {
    return BlobStores.parse("artifact " + ref.getKind(), ref.getUri());
  }

  /**
   * A URI of a message or a command line.
   *
   * @param what names the field in the error
   * @throws GraceException (user) if it is none, or has a scheme that no store offers
   */
  public static URI uri(String what, String text) {
    return BlobStores.parse(what, text);
  }

  /**
   * A URI, or a path of this machine, from a command line.
   *
   * @param what names the option in the error
   * @throws GraceException (user) if it is neither, or has a scheme that no store offers
   */
  public static URI uriOrPath(String what, String text) {
    if (text.matches("[A-Za-z][A-Za-z0-9+.-]+:/.*")) {
      return BlobStores.parse(what, text);
    }
    try {
      return BlobStores.ofPath(Path.of(text));
    } catch (InvalidPathException e) {
      throw GraceException.user("%s: '%s' is no path (%s)", what, text, e.getReason()).withCause(e);
    }
  }

  /**
   * The path of a URI whose scheme is {@code file}; empty for other schemes.
   *
   * @throws GraceException (user) if such a URI is no path of this machine
   */
  public static Optional<Path> path(URI uri) {
    return BlobStores.isFile(uri)
        ? Optional.of(BlobStores.path("artifact", uri))
        : Optional.empty();
  }

  /**
   * The artifact as a file or folder of this machine, to be read only. What lies in a file system
   * is given as it is, without hashing; a copy from another store has the digest of the reference.
   *
   * @throws GraceException (user) for an unknown scheme; (data) if it is missing or its bytes do
   *     not have the digest, also when fetched again; (environment) if its store cannot be read
   */
  public static Path fetch(ArtifactRef ref) {
    URI uri = uri(ref);
    if (!BlobStores.isFile(uri)) {
      return cache().fetch(ref);
    }
    return existing(ref, BlobStores.path("artifact", uri));
  }

  /** Whether a path that {@link #fetch} gave is a copy in the cache. */
  public static boolean isCopy(Path fetched) {
    ArtifactCache made = cache;
    return made != null && made.holds(fetched);
  }

  /**
   * One file of a folder artifact, without fetching the others.
   *
   * @param file relative name
   * @throws GraceException as {@link #fetch(ArtifactRef)}
   */
  public static Path fetch(ArtifactRef ref, String file) {
    URI uri = uri(ref);
    return BlobStores.isFile(uri)
        ? existing(ref, BlobStores.path("artifact", uri).resolve(file))
        : cache().fetch(ref, file);
  }

  /** Whether a folder artifact has a file with this relative name. */
  public static boolean holds(ArtifactRef ref, String file) {
    URI uri = uri(ref);
    return BlobStores.isFile(uri)
        ? Files.isRegularFile(BlobStores.path("artifact", uri).resolve(file))
        : cache().tree(ref).files().containsKey(file);
  }

  /**
   * Relative names of the files of a folder artifact, with their sizes in bytes.
   *
   * @throws GraceException as {@link #fetch(ArtifactRef)}
   */
  public static SortedMap<String, Long> sizes(ArtifactRef ref) {
    URI uri = uri(ref);
    SortedMap<String, Long> sizes = new TreeMap<>();
    try {
      if (BlobStores.isFile(uri)) {
        Path folder = existing(ref, BlobStores.path("artifact", uri));
        for (Path file : Digests.files(folder)) {
          sizes.put(Digests.relativeName(folder, file), Files.size(file));
        }
        return sizes;
      }
      BlobStore store = BlobStores.open(Place.of(ref).root());
      for (Map.Entry<String, String> file : cache().tree(ref).files().entrySet()) {
        sizes.put(file.getKey(), store.size(BlobContents.BLOBS + file.getValue()).orElse(0));
      }
      return sizes;
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be read (%s)", uri, Digests.reason(e))
          .withCause(e);
    }
  }

  /**
   * A folder inside a folder artifact, as an artifact of its own. Its kind is its name.
   *
   * @param folder relative name
   * @throws GraceException (user) if the artifact does not hold it
   */
  public static ArtifactRef inside(ArtifactRef ref, String folder) {
    URI uri = uri(ref);
    Path name = Path.of(folder).normalize();
    if (name.isAbsolute() || name.startsWith("..") || name.toString().isEmpty()) {
      throw GraceException.user(
          "'%s' is no folder inside an artifact; allowed: a relative name", folder);
    }
    String plain = name.toString().replace('\\', '/');
    ArtifactRef.Builder inside = ArtifactRef.newBuilder().setKind(name.getFileName().toString());
    if (BlobStores.isFile(uri)) {
      Path path = BlobStores.path("artifact", uri).resolve(name);
      if (!Files.exists(path)) {
        throw GraceException.user("%s: holds no %s", ref.getUri(), folder);
      }
      try {
        return inside
            .setSha256(Digests.sha256(path))
            .setBytes(Digests.bytes(path))
            .setUri(BlobStores.ofPath(path).toString())
            .build();
      } catch (IOException e) {
        throw GraceException.environment("%s: cannot be read (%s)", path, Digests.reason(e))
            .withCause(e);
      }
    }
    Tree tree = cache().tree(ref).below(plain);
    if (tree.files().isEmpty()) {
      throw GraceException.user("%s: holds no folder %s", ref.getUri(), folder);
    }
    inside.setSha256(tree.sha256()).setUri(ref.getUri() + "/" + encoded(plain));
    long bytes = sizes(inside.build()).values().stream().mapToLong(size -> size).sum();
    return inside.setBytes(bytes).build();
  }

  private static String encoded(String name) {
    try {
      return new URI(null, null, "/" + name, null).getRawPath().substring(1);
    } catch (URISyntaxException e) {
      throw GraceException.bug("'%s' cannot be part of a URI", name).withCause(e);
    }
  }

  private static Path existing(ArtifactRef ref, Path path) {
    if (!Files.exists(path)) {
      throw GraceException.data(
          "%s: does not exist; allowed: an artifact of kind %s", path, ref.getKind());
    }
    return path;
  }

  /** The cache of this process. */
  static ArtifactCache cache() {
    ArtifactCache made = cache;
    if (made == null) {
      synchronized (Artifacts.class) {
        made = cache;
        if (made == null) {
          made = new ArtifactCache(cacheFolder());
          cache = made;
        }
      }
    }
    return made;
  }

  private static Path cacheFolder() {
    String property = System.getProperty("grace.cache", "");
    String variable = System.getenv("GRACE_CACHE");
    if (!property.isEmpty()) {
      return Path.of(property);
    }
    return variable == null || variable.isEmpty()
        ? Path.of(System.getProperty("user.home"), ".cache", "grace-beam")
        : Path.of(variable);
  }
}
