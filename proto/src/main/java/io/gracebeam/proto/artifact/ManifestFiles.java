package io.gracebeam.proto.artifact;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;

/**
 * Manifests as JSON text. Digests say all, so the text holds no URI: a store can be moved, and two
 * stores of equal runs are equal byte by byte.
 */
final class ManifestFiles {
  /** Of the texts that this build writes. */
  static final int FORMAT = 1;

  private ManifestFiles() {}

  static String toJson(Manifest manifest) {
    try {
      return JsonFormat.printer()
              .preservingProtoFieldNames()
              .sortingMapKeys()
              .print(withoutUris(manifest))
          + "\n";
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug("manifest %s: cannot be written as JSON", manifest.getStageKey())
          .withCause(e);
    }
  }

  /**
   * Reads a manifest; its references have no URI.
   *
   * @param where names the text in errors
   * @throws GraceException (user) if it is of a newer format; (data) if it is no manifest
   */
  static Manifest fromJson(String json, String where) {
    Manifest.Builder manifest = Manifest.newBuilder();
    try {
      requireFormat(json, where);
      JsonFormat.parser().merge(json, manifest);
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.data(
              "%s: is no manifest (%s); allowed: a file that this store wrote",
              where, e.getMessage())
          .withCause(e);
    }
    return withoutUris(manifest.build());
  }

  /** A manifest without URIs: what differs between two places of one artifact is left out. */
  static Manifest withoutUris(Manifest manifest) {
    Manifest.Builder plain = manifest.toBuilder();
    plain.getArtifactBuilder().clearUri();
    manifest.getInputsMap().forEach((role, ref) -> plain.putInputs(role, withoutUri(ref)));
    return plain.build();
  }

  private static ArtifactRef withoutUri(ArtifactRef ref) {
    return ref.toBuilder().clearUri().build();
  }

  private static void requireFormat(String json, String where)
      throws InvalidProtocolBufferException {
    Manifest.Builder lenient = Manifest.newBuilder();
    JsonFormat.parser().ignoringUnknownFields().merge(json, lenient);
    int format = lenient.getFormat();
    if (Integer.compareUnsigned(format, FORMAT) > 0) {
      throw GraceException.user(
          "%s: is a manifest of format %s, made by a newer build; allowed: formats up to %d, or"
              + " another store",
          where, Integer.toUnsignedString(format), FORMAT);
    }
  }
}
