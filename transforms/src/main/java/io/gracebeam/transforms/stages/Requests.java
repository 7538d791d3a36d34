package io.gracebeam.transforms.stages;

import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.transforms.client.Engine;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** Small steps that several stages share. */
final class Requests {
  private Requests() {}

  /** Writes the files of an artifact into a fresh folder. */
  @FunctionalInterface
  interface Content {
    void write(Path folder) throws IOException;
  }

  static ArtifactRef input(StageTask task, Map<String, ArtifactRef> inputs, String role) {
    ArtifactRef input = inputs.get(role);
    if (input == null) {
      throw GraceException.user(
          "%s: input '%s' is missing; given are %s", task.getId(), role, inputs.keySet());
    }
    return input;
  }

  static Manifest.Builder partial(
      String kind,
      String stageKey,
      StageTask task,
      Map<String, ArtifactRef> inputs,
      Engine engine) {
    Manifest.Builder partial =
        Manifest.newBuilder()
            .setStage(task.getStage())
            .setStageKey(stageKey)
            .putTools("grace-beam", Builds.current())
            .putTools("engine", engine.digest())
            .setSeed(task.getSeed())
            .setHardware(engine.device());
    // Paths differ between machines; digests say all.
    inputs.forEach((role, ref) -> partial.putInputs(role, ref.toBuilder().clearUri().build()));
    partial.getArtifactBuilder().setKind(kind);
    return partial;
  }

  static Manifest publish(
      ArtifactStore store, String stageKey, Manifest.Builder partial, Content content) {
    Path folder = store.begin(stageKey);
    try {
      Files.createDirectories(folder);
      content.write(folder);
      return store.publish(folder, partial);
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(folder, e);
    } finally {
      store.abandon(folder);
    }
  }
}
