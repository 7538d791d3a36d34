package io.gracebeam.transforms.stages;

import io.gracebeam.proto.v1.Manifest;
import java.util.Map;
import java.util.Optional;

/** Tells beforehand whether a task is a cache hit, by the key that {@link RunStages} looks up. */
public final class StageLookup {
  private StageLookup() {}

  /**
   * What is published for a task; empty if it would run.
   *
   * @param earlier manifests of all tasks that it refers to
   * @param engineDigest of the workers' engine
   */
  public static Optional<Manifest> find(
      StageTask task, Map<String, byte[]> earlier, String engineDigest) {
    return Ready.of(task, earlier, () -> engineDigest).published();
  }

  /** The key under which a task's result is published, 64 hexadecimal characters. */
  public static String key(StageTask task, Map<String, byte[]> earlier, String engineDigest) {
    return Ready.of(task, earlier, () -> engineDigest).job().key();
  }
}
