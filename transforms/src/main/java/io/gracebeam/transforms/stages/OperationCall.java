package io.gracebeam.transforms.stages;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.util.List;
import java.util.Map;

/**
 * Long work that the worker itself publishes. The template is an {@link OperationRequest} of one of
 * the allowed kinds.
 */
record OperationCall(List<OperationRequest.WorkCase> allowed) implements StageCall {

  static OperationCall of(OperationRequest.WorkCase... allowed) {
    return new OperationCall(List.of(allowed));
  }

  @Override
  public Message keyPart(StageTask task, Map<String, ArtifactRef> inputs) {
    return template(task);
  }

  @Override
  public Completed call(
      WorkerPool pool,
      ArtifactStore store,
      String stageKey,
      StageTask task,
      Map<String, ArtifactRef> inputs) {
    return pool.run(
        template(task).toBuilder()
            .setId(stageKey)
            .setStore(task.getStore())
            .setSeed(task.getSeed())
            .putAllInputs(inputs)
            .build());
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    return List.of();
  }

  private OperationRequest template(StageTask task) {
    OperationRequest request;
    try {
      request = OperationRequest.parseFrom(task.getRequest());
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug(
              "%s: the request is no OperationRequest: %s", task.getId(), e.getMessage())
          .withCause(e);
    }
    if (!allowed.contains(request.getWorkCase())) {
      throw GraceException.bug(
          "%s: work is %s; this stage takes %s", task.getId(), request.getWorkCase(), allowed);
    }
    return request.toBuilder().clearId().clearStore().clearInputs().clearSeed().build();
  }
}
