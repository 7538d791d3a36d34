package io.gracebeam.proto.artifact;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.nio.file.Path;
import java.util.function.UnaryOperator;

/**
 * Manifests as JSON text. What lies inside the store is written relative to its root, so that a
 * store can be moved and two stores of equal runs are equal byte by byte.
 */
final class ManifestFiles {
  private ManifestFiles() {}

  static String toJson(Manifest manifest, Path root) {
    try {
      return JsonFormat.printer()
              .preservingProtoFieldNames()
              .sortingMapKeys()
              .print(mapUris(manifest, uri -> relative(root, uri)))
          + "\n";
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug("manifest %s: cannot be written as JSON", manifest.getStageKey())
          .withCause(e);
    }
  }

  static Manifest fromJson(String json, Path root, Path where) {
    Manifest.Builder manifest = Manifest.newBuilder();
    try {
      JsonFormat.parser().merge(json, manifest);
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.data(
              "%s: is no manifest (%s); allowed: a file that this store wrote",
              where, e.getMessage())
          .withCause(e);
    }
    return mapUris(manifest.build(), uri -> absolute(root, uri));
  }

  private static Manifest mapUris(Manifest manifest, UnaryOperator<String> map) {
    Manifest.Builder mapped = manifest.toBuilder();
    mapped.setArtifact(mapUri(manifest.getArtifact(), map));
    manifest.getInputsMap().forEach((role, ref) -> mapped.putInputs(role, mapUri(ref, map)));
    return mapped.build();
  }

  private static ArtifactRef mapUri(ArtifactRef ref, UnaryOperator<String> map) {
    return ref.getUri().isEmpty() ? ref : ref.toBuilder().setUri(map.apply(ref.getUri())).build();
  }

  private static String relative(Path root, String uri) {
    if (uri.contains("://")) {
      return uri;
    }
    Path path = Path.of(uri).normalize();
    return path.startsWith(root) ? root.relativize(path).toString().replace('\\', '/') : uri;
  }

  private static String absolute(Path root, String uri) {
    return uri.contains("://") ? uri : root.resolve(uri).normalize().toString();
  }
}
