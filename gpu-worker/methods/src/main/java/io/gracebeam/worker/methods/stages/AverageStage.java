package io.gracebeam.worker.methods.stages;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.worker.methods.training.OuterStep;
import java.util.Map;

/** Makes the outer step over the shards of one round. */
public final class AverageStage implements StageWork {

  private static final int MOST_SHARDS = 4096;

  /** For the service loader. */
  public AverageStage() {}

  @Override
  public String stage() {
    return "average";
  }

  @Override
  public Map<String, Double> run(StageJob job) {
    AverageWork work = job.work(AverageWork.class);
    if (work.getShards() < 1 || work.getShards() > MOST_SHARDS) {
      throw GraceException.user(
          "average.shards: %d is not in 1..%d", work.getShards(), MOST_SHARDS);
    }
    return OuterStep.run(work, job.inputs(), job.out(), job.progress());
  }
}
