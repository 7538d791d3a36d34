package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.net.URI;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where a reference into a blob store points: {@code ROOT/blobs/SHA256}, {@code ROOT/trees/SHA256},
 * or a folder inside the latter, {@code ROOT/trees/SHA256/NAME}.
 *
 * @param root of the store
 * @param folder whether it is a folder, else a file
 * @param sha256 digest of the whole artifact
 * @param inside folder of the artifact; empty for all of it
 */
record Place(URI root, boolean folder, String sha256, String inside) {
  private static final Pattern URI_OF_CONTENT =
      Pattern.compile("(.*)/(blobs|trees)/([0-9a-f]{64})(?:/(.+))?");

  static Place of(ArtifactRef ref) {
    return of("artifact " + ref.getKind(), Artifacts.uri(ref));
  }

  /**
   * Takes a URI apart.
   *
   * @param what names it in the error
   */
  static Place of(String what, URI uri) {
    Matcher parts = URI_OF_CONTENT.matcher(uri.toString());
    if (!parts.matches() || (parts.group(2).equals("blobs") && parts.group(4) != null)) {
      throw GraceException.user(
          "%s: '%s' is no artifact in a store; allowed: ROOT/blobs/SHA256 and ROOT/trees/SHA256",
          what, uri);
    }
    return new Place(
        URI.create(parts.group(1)),
        parts.group(2).equals("trees"),
        parts.group(3),
        // decoded, since names in a tree are plain
        parts.group(4) == null ? "" : URI.create("x:/" + parts.group(4)).getPath().substring(1));
  }

  /** Name of the blob that stands for the whole artifact. */
  String name() {
    return (folder ? BlobContents.TREES : BlobContents.BLOBS) + sha256;
  }
}
