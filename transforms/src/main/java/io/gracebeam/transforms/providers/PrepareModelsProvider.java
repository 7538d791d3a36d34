package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.PrepareModels;
import io.gracebeam.transforms.stages.WorkerStage;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;

/** Offers {@link PrepareModels} as {@code beam:schematransform:io.gracebeam:prepare_models:v1}. */
@AutoService(SchemaTransformProvider.class)
public final class PrepareModelsProvider extends WorkerStageProvider {

  /** For the service loader. */
  public PrepareModelsProvider() {
    super("prepare_models", "Makes starting models from a dataset.");
  }

  @Override
  WorkerStage<?> stage(Workers workers) {
    return PrepareModels.of(workers);
  }
}
