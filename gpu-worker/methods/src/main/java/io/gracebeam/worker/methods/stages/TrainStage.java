package io.gracebeam.worker.methods.stages;

import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.worker.methods.training.StudentTrainer;
import java.util.Map;

/** Trains one logical shard for one round. */
public final class TrainStage implements StageWork {

  /** For the service loader. */
  public TrainStage() {}

  @Override
  public String stage() {
    return "train";
  }

  @Override
  public Map<String, Double> run(StageJob job) {
    return StudentTrainer.run(
        job.engine(),
        job.work(TrainWork.class),
        job.inputs(),
        job.seed(),
        job.out(),
        job.progress());
  }
}
