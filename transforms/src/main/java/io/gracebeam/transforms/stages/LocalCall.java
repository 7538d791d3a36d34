package io.gracebeam.transforms.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.plugin.Plugins;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.WorkerPool;
import java.util.List;

/** Runs a task in this process and publishes its result. */
final class LocalCall implements StageCall {
  private final LocalStage stage;

  private LocalCall(LocalStage stage) {
    this.stage = stage;
  }

  /**
   * The local stage of a kind.
   *
   * @throws io.gracebeam.proto.error.GraceException (user) where the class path has none
   */
  static LocalCall of(StageKind kind) {
    return new LocalCall(
        Plugins.load(LocalStage.class, "local stage", local -> List.of(local.stage()))
            .get(kind.name()));
  }

  @Override
  public Message keyPart(Message work) {
    return work;
  }

  @Override
  public Completed call(WorkerPool pool, Job job) {
    Manifest.Builder partial = Requests.partial(job);
    Manifest manifest =
        Requests.publish(
            job,
            partial,
            stage.parts(job.inputs()),
            folder ->
                partial.putAllMeasures(
                    stage.run(
                        new LocalStage.Job(
                            job.task().getId(),
                            job.work(),
                            job.inputs(),
                            job.task().getSeed(),
                            folder))));
    return new Completed(manifest, 0);
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    return stage.refused(manifest.getArtifact()).stream()
        .map(
            refused -> DeadLetter.of(task.getStage(), task.getId(), refused.id(), refused.reason()))
        .toList();
  }
}
