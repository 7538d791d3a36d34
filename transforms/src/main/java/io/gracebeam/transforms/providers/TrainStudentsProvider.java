package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.TrainStudents;
import io.gracebeam.transforms.stages.WorkerStage;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;

/** Offers {@link TrainStudents} as {@code beam:schematransform:io.gracebeam:train_students:v1}. */
@AutoService(SchemaTransformProvider.class)
public final class TrainStudentsProvider extends WorkerStageProvider {

  /** For the service loader. */
  public TrainStudentsProvider() {
    super("train_students", "Trains shards of students and averages them.");
  }

  @Override
  WorkerStage<?> stage(Workers workers) {
    return TrainStudents.of(workers);
  }
}
