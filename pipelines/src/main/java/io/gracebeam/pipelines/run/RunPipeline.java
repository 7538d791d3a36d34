package io.gracebeam.pipelines.run;

import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.RunStages;
import io.gracebeam.transforms.stages.StageOutputs;
import io.gracebeam.transforms.stages.StageResult;
import io.gracebeam.transforms.stages.StageResults;
import io.gracebeam.transforms.stages.StageTask;
import java.net.URI;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.TypeDescriptor;

/**
 * Builds the pipeline of a plan: wave by wave, in each wave one transform per kind of stage, with
 * all earlier results as a side input. Rounds are unrolled; the graph's size follows the number of
 * waves, not that of tasks.
 */
public final class RunPipeline {
  private final Workers workers;
  private final Map<String, ArtifactRef> given;
  private final URI store;

  /**
   * A builder.
   *
   * @param workers who computes
   * @param given artifacts that exist before the run, by their {@code @} name
   * @param store URI of the artifact store
   */
  public RunPipeline(Workers workers, Map<String, ArtifactRef> given, URI store) {
    this.workers = workers;
    this.given = Map.copyOf(given);
    this.store = store;
  }

  /**
   * Adds stages of any kind in the stage table to an empty pipeline.
   *
   * @param waves stages by wave, as {@code RunPlan.waves} gives them: each reads results of earlier
   *     waves only
   */
  public RunBackend.Outputs expand(Pipeline pipeline, List<List<PlannedStage>> waves) {
    PCollectionList<StageResult> done = PCollectionList.empty(pipeline);
    PCollectionList<DeadLetter> refused = PCollectionList.empty(pipeline);
    int number = 0;
    for (List<PlannedStage> wave : waves) {
      String prefix = "Wave%02d".formatted(number++);
      PCollectionView<Map<String, byte[]>> earlier =
          done.size() == 0 ? null : done.apply(prefix + "/Earlier", StageResults.asView());
      for (Map.Entry<String, List<StageTask>> group : byKind(wave).entrySet()) {
        String name = prefix + "/" + group.getKey();
        RunStages run = RunStages.on(workers);
        StageOutputs outputs =
            pipeline
                .apply(
                    name + "/Tasks",
                    Create.of(group.getValue()).withType(TypeDescriptor.of(StageTask.class)))
                .apply(name, earlier == null ? run : run.withEarlier(earlier));
        done = done.and(outputs.results());
        refused = refused.and(outputs.deadLetters());
      }
    }
    return new RunBackend.Outputs(
        done.apply("Results", Flatten.pCollections()),
        refused.apply("Refused", Flatten.pCollections()));
  }

  private Map<String, List<StageTask>> byKind(List<PlannedStage> wave) {
    Map<String, List<StageTask>> groups = new LinkedHashMap<>();
    for (PlannedStage stage : wave) {
      groups
          .computeIfAbsent(stage.kind().name(), k -> new ArrayList<>())
          .add(Tasks.of(stage, given, store));
    }
    return groups;
  }
}
