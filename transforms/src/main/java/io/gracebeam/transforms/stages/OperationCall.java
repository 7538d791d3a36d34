package io.gracebeam.transforms.stages;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.util.List;

/** Long work that a worker runs as an operation and publishes itself. */
final class OperationCall implements StageCall {

  @Override
  public Message keyPart(Message work) {
    return work;
  }

  @Override
  public Completed call(WorkerPool pool, Job job) {
    return pool.run(
        OperationRequest.newBuilder()
            .setId(job.key())
            .setStore(job.task().getStore())
            .setStage(job.kind().name())
            .setWork(Any.pack(job.work()))
            .setSeed(job.task().getSeed())
            .putAllInputs(job.inputs())
            .build());
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    return List.of();
  }
}
