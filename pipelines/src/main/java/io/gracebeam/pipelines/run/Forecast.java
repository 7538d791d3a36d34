package io.gracebeam.pipelines.run;

import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.stages.StageLookup;
import java.net.URI;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

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
      RunPlan plan, String engineDigest, Map<String, ArtifactRef> given, URI store) {
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
          StageLookup.find(Tasks.of(stage, given, store), earlier, engineDigest);
      found.ifPresent(manifest -> earlier.put(stage.id(), manifest.toByteArray()));
      fates.put(stage.id(), found.isPresent() ? Fate.CACHED : Fate.RUN);
    }
    return fates;
  }
}
