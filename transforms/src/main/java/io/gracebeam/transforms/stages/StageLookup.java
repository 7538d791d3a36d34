package io.gracebeam.transforms.stages;

import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.StageKeys;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;

/**
 * Tells beforehand whether a task is a cache hit, by the very key that the stage itself would look
 * up.
 */
public final class StageLookup {
  private StageLookup() {}

  /**
   * What is published for a task; empty if it would run.
   *
   * @param stage the stage that the task is for
   * @param earlier manifests of all tasks that it refers to
   * @param engineDigest of the workers' engine
   */
  public static Optional<Manifest> find(
      WorkerStage<?> stage, StageTask task, Map<String, byte[]> earlier, String engineDigest) {
    SortedMap<String, ArtifactRef> inputs = Inputs.resolve(task, earlier);
    String key =
        StageKeys.key(
            task.getStage(),
            task.getVersion(),
            stage.call().keyPart(task, inputs),
            inputs,
            engineDigest,
            task.getSeed());
    return ArtifactStore.open(Path.of(task.getStore())).find(key);
  }
}
