package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.SortedSet;

/** Finds blob stores by the scheme of a URI. */
final class BlobStores {
  static final String FILE = "file";

  private static volatile Plugins<BlobStoreProvider> plugins;

  private BlobStores() {}

  private static Plugins<BlobStoreProvider> plugins() {
    Plugins<BlobStoreProvider> found = plugins;
    if (found == null) {
      found =
          Plugins.load(
              BlobStoreProvider.class, "artifact URI scheme", one -> List.of(one.scheme()));
      plugins = found;
    }
    return found;
  }

  /** All schemes that a URI may have. */
  static SortedSet<String> schemes() {
    return plugins().names();
  }

  /**
   * Opens the store with a root.
   *
   * @throws GraceException (user) for an unknown scheme, (environment) if the store cannot be
   *     opened
   */
  static BlobStore open(URI root) {
    BlobStoreProvider provider = plugins().get(scheme(root));
    try {
      BlobStore blobs = provider.open(root);
      return blobs.folder().isPresent() ? blobs : new RetryingBlobs(blobs, provider.firstPause());
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(shown(root), e);
    }
  }

  /**
   * A URI of a message or a command line, without {@code /} at its end.
   *
   * @param what names the field in the error
   * @throws GraceException (user) if it is none, or of a scheme that nothing offers
   */
  static URI parse(String what, String text) {
    URI uri;
    try {
      uri = new URI(text);
    } catch (URISyntaxException e) {
      throw GraceException.user(
              "%s: '%s' is not a URI (%s); allowed: a URI with one of the schemes %s",
              what, text, e.getReason(), listed())
          .withCause(e);
    }
    if (uri.getScheme() == null || !schemes().contains(scheme(uri))) {
      throw GraceException.user("%s: '%s' has no known scheme; allowed: %s", what, text, listed());
    }
    if (isFile(uri)) {
      path(what, uri);
    }
    return stripped(uri);
  }

  static boolean isFile(URI uri) {
    return scheme(uri).equals(FILE);
  }

  /** The path of a file URI. */
  static Path path(String what, URI uri) {
    try {
      return Path.of(uri);
    } catch (IllegalArgumentException e) {
      throw GraceException.user(
              "%s: '%s' is no file of this machine (%s); allowed: file:///absolute/path",
              what, uri, e.getMessage())
          .withCause(e);
    }
  }

  /** The URI of a path; the same whether or not the path exists and is a folder. */
  static URI ofPath(Path path) {
    return stripped(path.toAbsolutePath().normalize().toUri());
  }

  /** A place for people: the path of a file, else the URI. */
  static String shown(URI uri) {
    return isFile(uri) ? path("artifact", uri).toString() : uri.toString();
  }

  private static String scheme(URI uri) {
    return String.valueOf(uri.getScheme()).toLowerCase(Locale.ROOT);
  }

  private static String listed() {
    return String.join(", ", schemes());
  }

  private static URI stripped(URI uri) {
    String text = uri.toString();
    int end = text.length();
    while (end > 1
        && text.charAt(end - 1) == '/'
        && !text.substring(0, end).endsWith("://")
        && !text.substring(0, end).endsWith(":///")) {
      end--;
    }
    return end == text.length() ? uri : URI.create(text.substring(0, end));
  }
}
