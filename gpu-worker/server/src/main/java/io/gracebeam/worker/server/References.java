package io.gracebeam.worker.server;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.artifact.DigestMemo;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Turns references of requests into paths, and trusts none: a URI lies inside the allowed roots, a
 * path is absolute and normalized, and a digest is computed and compared before the bytes are used.
 */
final class References {
  private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
  private static final Pattern ID = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}");

  private final List<URI> roots;
  private final DigestMemo digests = new DigestMemo();

  /**
   * Checks against roots.
   *
   * @param roots URIs that everything in requests must lie below; empty: any place
   */
  References(List<URI> roots) {
    this.roots = List.copyOf(roots);
  }

  /** Checks the id of a unit or operation. */
  static String id(String id) {
    if (!ID.matcher(id).matches()) {
      throw GraceException.user(
          "id: '%s' is not 1 to 128 of letters, digits, '.', '_' and '-'",
          id.length() > 80 ? id.substring(0, 80) : id);
    }
    return id;
  }

  /**
   * Checks the URI of a request.
   *
   * @param what names the field in the error
   */
  URI uri(String what, String text) {
    URI uri = Artifacts.uri(what, text);
    Optional<Path> path = Artifacts.path(uri);
    if (path.isPresent()) {
      path(what, path.get().toString());
    } else if (!roots.isEmpty()
        && (uri.getRawPath().matches(".*/\\.\\.?(/.*)?")
            || roots.stream().noneMatch(root -> below(root, uri)))) {
      throw outside(what, text);
    }
    return uri;
  }

  /**
   * Checks a path of a request.
   *
   * @param what names the field in the error
   */
  Path path(String what, String text) {
    Path path;
    try {
      path = Path.of(text);
    } catch (InvalidPathException e) {
      throw GraceException.user("%s: not a path: %s", what, e.getReason());
    }
    if (text.isEmpty() || !path.isAbsolute() || !path.equals(path.normalize())) {
      throw GraceException.user(
          "%s: '%s' must be an absolute path without '.' or '..'", what, Lines.oneLine(text));
    }
    if (!roots.isEmpty()) {
      Path actual = real(path);
      if (roots.stream()
          .flatMap(root -> Artifacts.path(root).stream())
          .noneMatch(root -> actual.startsWith(real(root)))) {
        throw outside(what, text);
      }
    }
    return path;
  }

  private static boolean below(URI root, URI uri) {
    return uri.equals(root) || uri.toString().startsWith(root + "/");
  }

  private static GraceException outside(String what, String text) {
    return GraceException.user(
        "%s: '%s' lies outside the folders that this worker allows", what, Lines.oneLine(text));
  }

  /**
   * Checks a reference and its digest.
   *
   * @param role names the reference in the error
   * @return a file or folder of this machine, whose bytes have the digest
   */
  Path verify(String role, ArtifactRef ref) {
    URI uri = uri(role, ref.getUri());
    if (!SHA256.matcher(ref.getSha256()).matches()) {
      throw GraceException.user(
          "%s: sha256 must be 64 lower-case hex digits, is '%s'",
          role, Lines.oneLine(ref.getSha256()));
    }
    if (Artifacts.path(uri).isEmpty()) {
      return Artifacts.fetch(ref);
    }
    Path path = Artifacts.path(uri).get();
    if (!Files.exists(path)) {
      throw GraceException.data("%s: '%s' does not exist", role, path);
    }
    String digest = digest(path);
    if (!digest.equals(ref.getSha256())) {
      throw GraceException.data(
          "%s: '%s' has sha256 %s, the request says %s", role, path, digest, ref.getSha256());
    }
    return path;
  }

  /**
   * The file of a verified artifact that a request names.
   *
   * @param what names the field in the error
   * @param artifact folder, or one file, which is named by its own file name
   * @param name relative path with {@code /}
   * @throws GraceException (data) if the name leaves the artifact or names no file in it
   */
  Path inside(String what, Path artifact, String name) {
    Path folder = Files.isDirectory(artifact) ? artifact : artifact.getParent();
    Path relative;
    try {
      relative = Path.of(name);
    } catch (InvalidPathException e) {
      throw GraceException.data("%s: not a path: %s", what, Lines.oneLine(e.getReason()));
    }
    Path file = folder.resolve(relative);
    // A link to a file is part of an artifact, with the bytes behind it; a link to a folder is not.
    if (name.isEmpty()
        || relative.isAbsolute()
        || !relative.equals(relative.normalize())
        || relative.startsWith("..")
        || (file.getParent() != null && !real(file.getParent()).startsWith(real(folder)))
        || (!folder.equals(artifact) && !file.equals(artifact))) {
      throw GraceException.data(
          "%s: '%s' must be a path inside '%s', without '.' or '..'",
          what, Lines.oneLine(name), artifact);
    }
    if (!Files.isRegularFile(file)) {
      throw GraceException.data("%s: '%s' does not exist", what, file);
    }
    return Artifacts.isCopy(artifact) ? file : path(what, file.toString());
  }

  private String digest(Path path) {
    try {
      return digests.sha256(path);
    } catch (UncheckedIOException e) {
      throw GraceException.data("'%s' cannot be read: %s", path, e.getMessage()).withCause(e);
    }
  }

  /** Real path of the deepest existing ancestor, with the rest appended. */
  private static Path real(Path path) {
    Path absolute = path.toAbsolutePath().normalize();
    try {
      if (Files.exists(absolute)) {
        return absolute.toRealPath();
      }
    } catch (IOException e) {
      throw GraceException.data("'%s' cannot be read", absolute).withCause(e);
    }
    Path parent = absolute.getParent();
    return parent == null ? absolute : real(parent).resolve(absolute.getFileName());
  }
}
