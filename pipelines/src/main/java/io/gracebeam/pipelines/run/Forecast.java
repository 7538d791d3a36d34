package io.gracebeam.pipelines.run;

import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.pipelines.plan.StageKind;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.StageLookup;
import io.gracebeam.transforms.stages.StageTask;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/** What a run would do, stage by stage, without doing it. */
public final class Forecast {
  /** Fate of a stage. */
  public enum Fate {
    /** Its result is in the store. */
    CACHED,
    /** All its inputs are there, its result is not. */
    RUN,
    /** It waits for a stage that has to run, so its key is not known yet. */
    RUN_AFTER
  }

  private Forecast() {}

  /** The fate of every stage, in the plan's order. */
  public static Map<String, Fate> of(
      RunPlan plan,
      Workers workers,
      String engineDigest,
      Map<String, ArtifactRef> given,
      Path store) {
    Map<String, Fate> fates = new LinkedHashMap<>();
    Map<String, byte[]> earlier = new HashMap<>();
    for (PlannedStage stage : plan.stages()) {
      boolean ready =
          stage.inputs().values().stream()
              .allMatch(i -> i.startsWith("@") || earlier.containsKey(i));
      if (!ready) {
        fates.put(stage.id(), Fate.RUN_AFTER);
        continue;
      }
      Optional<Manifest> found =
          find(stage, Tasks.of(stage, given, store), workers, engineDigest, given, earlier);
      found.ifPresent(manifest -> earlier.put(stage.id(), manifest.toByteArray()));
      fates.put(stage.id(), found.isPresent() ? Fate.CACHED : Fate.RUN);
    }
    return fates;
  }

  private static Optional<Manifest> find(
      PlannedStage stage,
      StageTask task,
      Workers workers,
      String engineDigest,
      Map<String, ArtifactRef> given,
      Map<String, byte[]> earlier) {
    if (stage.kind() != StageKind.SIGNALS) {
      return StageLookup.find(
          RunPipeline.stage(stage.kind(), workers), task, earlier, engineDigest);
    }
    Map<String, ArtifactRef> units = new TreeMap<>();
    stage
        .inputs()
        .forEach(
            (role, id) ->
                units.put(
                    role, id.startsWith("@") ? given.get(id) : JoinSignals.artifact(earlier, id)));
    return ArtifactStore.open(Path.of(task.getStore())).find(JoinSignals.key(task, units));
  }
}
