package io.gracebeam.pipelines.run;

import com.google.protobuf.Message;
import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.transforms.stages.StageTask;
import java.nio.file.Path;
import java.util.Map;

/** Turns planned stages into the tasks that the transforms take. */
final class Tasks {
  private Tasks() {}

  static StageTask of(PlannedStage stage, Map<String, ArtifactRef> given, Path store) {
    StageTask task =
        StageTask.of(
            stage.id(), stage.kind().label(), request(stage), stage.seed(), store.toString());
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

  /** What the stage's transform expects: long work wrapped as an operation, units as they are. */
  static Message request(PlannedStage stage) {
    Message work = stage.work();
    if (work instanceof PrepareWork prepare) {
      return OperationRequest.newBuilder().setPrepare(prepare).build();
    }
    if (work instanceof TrainWork train) {
      return OperationRequest.newBuilder().setTrain(train).build();
    }
    if (work instanceof AverageWork average) {
      return OperationRequest.newBuilder().setAverage(average).build();
    }
    if (work instanceof ExportWork export) {
      return OperationRequest.newBuilder().setExport(export).build();
    }
    return work;
  }
}
