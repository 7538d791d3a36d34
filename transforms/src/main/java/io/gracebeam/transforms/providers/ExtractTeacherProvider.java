package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.ExtractTeacher;
import io.gracebeam.transforms.stages.WorkerStage;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;

/**
 * Offers {@link ExtractTeacher} as {@code beam:schematransform:io.gracebeam:extract_teacher:v1}.
 */
@AutoService(SchemaTransformProvider.class)
public final class ExtractTeacherProvider extends WorkerStageProvider {

  /** For the service loader. */
  public ExtractTeacherProvider() {
    super("extract_teacher", "Extracts a teacher's signals of units of examples.");
  }

  @Override
  WorkerStage<?> stage(Workers workers) {
    return ExtractTeacher.of(workers);
  }
}
