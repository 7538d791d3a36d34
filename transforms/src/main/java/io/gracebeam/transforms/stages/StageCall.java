package io.gracebeam.transforms.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.io.Serializable;
import java.util.List;
import java.util.Map;

/**
 * What differs between the stages: the part of the request that the key covers, the call itself,
 * and what was refused in it.
 */
interface StageCall extends Serializable {

  /**
   * Everything that decides the outcome besides inputs, engine and seed; free of paths of this
   * machine.
   */
  Message keyPart(StageTask task, Map<String, ArtifactRef> inputs);

  /** Asks a worker; the artifact is published when this returns. */
  Completed call(
      WorkerPool pool,
      ArtifactStore store,
      String stageKey,
      StageTask task,
      Map<String, ArtifactRef> inputs);

  /** Records that the published artifact lists as refused; the same for a cached artifact. */
  List<DeadLetter> refused(StageTask task, Manifest manifest);
}
