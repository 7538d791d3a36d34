package io.gracebeam.pipelines.run;

import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.transforms.stages.StageTask;
import java.net.URI;
import java.util.Map;

/** Turns planned stages into the tasks that the transforms take. */
final class Tasks {
  private Tasks() {}

  static StageTask of(PlannedStage stage, Map<String, ArtifactRef> given, URI store) {
    StageTask task =
        StageTask.of(stage.id(), stage.kind(), stage.work(), stage.seed(), store.toString());
    for (Map.Entry<String, String> input : stage.inputs().entrySet()) {
      String source = input.getValue();
      if (!source.startsWith("@")) {
        task = task.withReference(input.getKey(), source);
        continue;
      }
      ArtifactRef artifact = given.get(source);
      if (artifact == null) {
        throw GraceException.bug(
            "stage %s reads %s, which this run does not have", stage.id(), source);
      }
      task = task.withInput(input.getKey(), artifact);
    }
    return task;
  }
}
