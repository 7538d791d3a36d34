package io.gracebeam.worker.methods.stages;

import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.worker.methods.training.Prepare;
import java.util.Map;

/** Makes a starting model: tower pre-training, then instruction training. */
public final class PrepareStage implements StageWork {

  /** For the service loader. */
  public PrepareStage() {}

  @Override
  public String stage() {
    return "prepare";
  }

  @Override
  public Map<String, Double> run(StageJob job) {
    return Prepare.run(
        job.engine(),
        job.work(PrepareWork.class),
        job.inputs().get("dataset"),
        job.seed(),
        job.out(),
        job.progress());
  }
}
