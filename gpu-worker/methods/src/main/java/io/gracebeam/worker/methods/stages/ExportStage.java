package io.gracebeam.worker.methods.stages;

import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.worker.methods.export.Exporter;
import java.util.Map;

/** Writes the checkpoint that users deploy. */
public final class ExportStage implements StageWork {

  /** For the service loader. */
  public ExportStage() {}

  @Override
  public String stage() {
    return "export";
  }

  @Override
  public Map<String, Double> run(StageJob job) {
    return Exporter.run(job.work(ExportWork.class), job.inputs(), job.out(), job.progress());
  }
}
