package io.gracebeam.transforms.stages;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** Teacher signals of one unit, published by the worker. */
final class ExtractCall implements StageCall {
  private static final long serialVersionUID = 1L;

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
    return pool.extract(
        template(task).toBuilder()
            .setId(stageKey)
            .setTeacher(Requests.input(task, inputs, "teacher"))
            .setDataset(Requests.input(task, inputs, "dataset"))
            .setStore(task.getStore())
            .build());
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    return Signals.read(Path.of(manifest.getArtifact().getUri())).stream()
        .filter(example -> !example.getError().isEmpty())
        .map(
            (ExampleSignal e) ->
                DeadLetter.of(task.getStage(), task.getId(), e.getId(), e.getError()))
        .toList();
  }

  private static ExtractRequest template(StageTask task) {
    try {
      return ExtractRequest.parseFrom(task.getRequest()).toBuilder()
          .clearId()
          .clearTeacher()
          .clearDataset()
          .clearStore()
          .build();
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug(
              "%s: the request is no ExtractRequest: %s", task.getId(), e.getMessage())
          .withCause(e);
    }
  }
}
