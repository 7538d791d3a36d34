package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.ExportInt4;
import io.gracebeam.transforms.stages.WorkerStage;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;

/** Offers {@link ExportInt4} as {@code beam:schematransform:io.gracebeam:export_int4:v1}. */
@AutoService(SchemaTransformProvider.class)
public final class ExportInt4Provider extends WorkerStageProvider {

  /** For the service loader. */
  public ExportInt4Provider() {
    super("export_int4", "Exports students as model folders.");
  }

  @Override
  WorkerStage<?> stage(Workers workers) {
    return ExportInt4.of(workers);
  }
}
