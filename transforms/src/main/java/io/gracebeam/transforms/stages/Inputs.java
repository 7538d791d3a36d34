package io.gracebeam.transforms.stages;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/** Turns a task's references into artifacts. */
final class Inputs {
  private Inputs() {}

  /**
   * All inputs by role.
   *
   * @throws GraceException (data) if a reference has no result, (user) if a literal is malformed or
   *     a folder is missing
   */
  static SortedMap<String, ArtifactRef> resolve(StageTask task, Map<String, byte[]> earlier) {
    SortedMap<String, ArtifactRef> resolved = new TreeMap<>();
    // Sorted, so that of several missing results always the same one is named.
    new TreeMap<>(task.getInputs())
        .forEach((role, value) -> resolved.put(role, resolve(task.getId(), role, value, earlier)));
    return resolved;
  }

  private static ArtifactRef resolve(
      String task, String role, String value, Map<String, byte[]> earlier) {
    if (!value.startsWith("@")) {
      return literal(task, role, value);
    }
    int hash = value.indexOf('#');
    String producer = value.substring(1, hash < 0 ? value.length() : hash);
    byte[] manifest = earlier.get(producer);
    if (manifest == null) {
      throw GraceException.data(
          "%s: input '%s' needs the result of %s, which has none", task, role, producer);
    }
    ArtifactRef artifact = StageResult.parse(producer, manifest).getArtifact();
    return hash < 0 ? artifact : inside(task, role, artifact, value.substring(hash + 1));
  }

  private static ArtifactRef literal(String task, String role, String value) {
    ArtifactRef.Builder artifact = ArtifactRef.newBuilder();
    try {
      JsonFormat.parser().merge(value, artifact);
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.user(
              "%s: input '%s' is '%s'; allowed are @task-id, @task-id#folder and an artifact"
                  + " reference in JSON",
              task, role, value)
          .withCause(e);
    }
    if (artifact.getSha256().isEmpty()) {
      throw GraceException.user("%s: input '%s' is without sha256", task, role);
    }
    return artifact.build();
  }

  private static ArtifactRef inside(String task, String role, ArtifactRef artifact, String folder) {
    try {
      return Artifacts.inside(artifact, folder);
    } catch (GraceException e) {
      throw new GraceException(
              e.category(), "%s: input '%s': %s".formatted(task, role, e.getMessage()))
          .withCause(e);
    }
  }
}
