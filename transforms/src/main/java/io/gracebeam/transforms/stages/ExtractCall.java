package io.gracebeam.transforms.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.util.List;

/** Teacher signals of one unit, published by the worker. */
final class ExtractCall implements StageCall {

  @Override
  public Message keyPart(Message work) {
    return template(work);
  }

  @Override
  public Completed call(WorkerPool pool, Job job) {
    return pool.extract(
        template(job.work()).toBuilder()
            .setId(job.key())
            .setTeacher(job.inputs().get("teacher"))
            .setDataset(job.inputs().get("dataset"))
            .setStore(job.task().getStore())
            .build());
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    return Signals.read(manifest.getArtifact()).stream()
        .filter(example -> !example.getError().isEmpty())
        .map(
            (ExampleSignal e) ->
                DeadLetter.of(task.getStage(), task.getId(), e.getId(), e.getError()))
        .toList();
  }

  /** The unit alone, without id, inputs and store. */
  private static ExtractRequest template(Message work) {
    return ((ExtractRequest) work)
        .toBuilder().clearId().clearTeacher().clearDataset().clearStore().build();
  }
}
