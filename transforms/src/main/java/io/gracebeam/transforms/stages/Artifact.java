package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.Serializable;
import java.nio.file.Path;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;

/**
 * Names a model, a dataset, a folder of images or any other immutable file or folder: where it is,
 * and the digest of its content.
 */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class Artifact implements Serializable {
  private static final long serialVersionUID = 1L;

  /** "model", "dataset", "images", "trained", ... */
  public abstract String getKind();

  /** SHA-256 of the content: 64 hexadecimal characters. */
  public abstract String getSha256();

  /** Where it is: a URI with scheme, for instance {@code file:///models/teacher}. */
  public abstract String getUri();

  /** An artifact whose digest is known. */
  @SchemaCreate
  public static Artifact of(String kind, String sha256, String uri) {
    return new AutoValue_Artifact(kind, sha256, uri);
  }

  /**
   * The file or folder at a path; reads it to compute the digest.
   *
   * @throws io.gracebeam.proto.error.GraceException (data) where it is missing
   */
  public static Artifact at(String kind, Path path) {
    return of(Artifacts.given(kind, path));
  }

  static Artifact of(ArtifactRef ref) {
    return of(ref.getKind(), ref.getSha256(), ref.getUri());
  }

  ArtifactRef ref() {
    return ArtifactRef.newBuilder()
        .setKind(getKind())
        .setSha256(getSha256())
        .setUri(getUri())
        .build();
  }
}
