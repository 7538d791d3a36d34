package io.gracebeam.transforms.stages;

import io.gracebeam.proto.artifact.ArtifactStore;
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

  /** A manifest without artifact, of a stage that no engine decides. */
  static Manifest.Builder partial(StageCall.Job job) {
    Manifest.Builder partial =
        Manifest.newBuilder()
            .setStage(job.kind().name())
            .setStageKey(job.key())
            .putTools("grace-beam", Builds.current())
            .setSeed(job.task().getSeed());
    // Paths differ between machines; digests say all.
    job.inputs()
        .forEach((role, ref) -> partial.putInputs(role, ref.toBuilder().clearUri().build()));
    partial.getArtifactBuilder().setKind(job.kind().output());
    return partial;
  }

  /** A manifest without artifact, of a stage that an engine computed. */
  static Manifest.Builder partial(StageCall.Job job, Engine engine) {
    return partial(job).putTools("engine", engine.digest()).setHardware(engine.device());
  }

  /**
   * Writes and publishes a result.
   *
   * @param parts artifacts that become folders of it, by relative name
   */
  static Manifest publish(
      StageCall.Job job,
      Manifest.Builder partial,
      Map<String, ArtifactRef> parts,
      Content content) {
    ArtifactStore store = job.store();
    Path folder = store.begin(job.key());
    try {
      Files.createDirectories(folder);
      content.write(folder);
      return store.publish(folder, partial, parts);
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(folder, e);
    } finally {
      store.abandon(folder);
    }
  }
}
