package io.gracebeam.transforms.stages;

import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.artifact.StageKeys;
import io.gracebeam.proto.stage.Executor;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.function.Supplier;

/** A task whose inputs are resolved and whose key is known. */
record Ready(StageCall call, StageCall.Job job) {

  /**
   * Resolves a task.
   *
   * @param earlier manifests of all tasks that it refers to
   * @param engineDigest of the workers' engine; asked only where the key covers it
   * @throws io.gracebeam.proto.error.GraceException (data) where a reference has no result, (user)
   *     where an input is missing or unknown
   */
  static Ready of(StageTask task, Map<String, byte[]> earlier, Supplier<String> engineDigest) {
    StageKind kind = StageTable.load().get(task.getStage());
    StageCall call = StageCall.of(kind);
    kind.checkInputs(task.getId(), task.getInputs().keySet());
    Message work = kind.parse(task.getId(), ByteString.copyFrom(task.getWork()));
    SortedMap<String, ArtifactRef> inputs = Inputs.resolve(task, earlier);
    String key =
        StageKeys.key(
            kind.name(),
            task.getVersion(),
            call.keyPart(work),
            inputs,
            kind.executor() == Executor.WORKER ? engineDigest.get() : "",
            task.getSeed());
    ArtifactStore store = ArtifactStore.open(Artifacts.uri("store", task.getStore()));
    return new Ready(call, new StageCall.Job(task, kind, work, inputs, store, key));
  }

  /** What is published under the key. */
  Optional<Manifest> published() {
    return job.store().find(job.key());
  }
}
