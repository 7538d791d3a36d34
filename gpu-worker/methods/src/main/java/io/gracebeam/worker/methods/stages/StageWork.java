package io.gracebeam.worker.methods.stages;

import java.util.Map;

/**
 * Runs the tasks of one kind of stage on a worker. Found by {@link java.util.ServiceLoader}; the
 * kind needs a row of the stage table as well, with executor {@code WORKER}.
 */
public interface StageWork {

  /** Name of the kind: that of its row in the stage table. */
  String stage();

  /**
   * Runs a task.
   *
   * @return small facts for the manifest, such as the last loss; equal in every correct run
   * @throws io.gracebeam.proto.error.GraceException of the category that decides who acts
   */
  Map<String, Double> run(StageJob job);
}
