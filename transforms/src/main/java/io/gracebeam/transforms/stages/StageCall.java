package io.gracebeam.transforms.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.stage.Executor;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.util.List;
import java.util.SortedMap;

/**
 * How a task is run: what the key covers, the call itself, and what was refused in it. Which one
 * serves a kind of stage follows from its row in the stage table.
 */
interface StageCall {

  /**
   * A task that is about to run.
   *
   * @param store where its result is published
   * @param key its stage key
   * @param work its work message
   * @param inputs resolved inputs by role
   */
  record Job(
      StageTask task,
      StageKind kind,
      Message work,
      SortedMap<String, ArtifactRef> inputs,
      ArtifactStore store,
      String key) {}

  /** The call of a kind of stage. */
  static StageCall of(StageKind kind) {
    if (kind.executor() == Executor.LOCAL) {
      return LocalCall.of(kind);
    }
    if (kind.does(ExtractRequest.getDefaultInstance())) {
      return new ExtractCall();
    }
    return kind.does(GenerateRequest.getDefaultInstance()) ? new AnswerCall() : new OperationCall();
  }

  /**
   * Everything that decides the outcome besides inputs, engine and seed; free of paths of this
   * machine.
   */
  Message keyPart(Message work);

  /**
   * Runs the task; its artifact is published when this returns.
   *
   * @param pool client of the workers
   */
  Completed call(WorkerPool pool, Job job);

  /** Records that the published artifact lists as refused, also where it was cached. */
  List<DeadLetter> refused(StageTask task, Manifest manifest);
}
