package io.gracebeam.transforms.providers;

import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.StageOutputs;
import io.gracebeam.transforms.stages.StageResult;
import io.gracebeam.transforms.stages.StageResults;
import io.gracebeam.transforms.stages.StageTask;
import io.gracebeam.transforms.stages.WorkerStage;
import java.util.List;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.TypedSchemaTransformProvider;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionRowTuple;

/**
 * A stage on rows. Inputs "input" (the fields of {@link StageTask}) and optionally "earlier" (of
 * {@link StageResult}); outputs "output" (of {@link StageResult}) and "errors" (of {@code
 * DeadLetter}).
 */
abstract class WorkerStageProvider extends TypedSchemaTransformProvider<WorkerStageConfiguration> {
  static final String INPUT = "input";
  static final String EARLIER = "earlier";
  static final String OUTPUT = "output";
  static final String ERRORS = "errors";

  private final String name;
  private final String description;

  WorkerStageProvider(String name, String description) {
    this.name = name;
    this.description = description;
  }

  abstract WorkerStage<?> stage(Workers workers);

  @Override
  protected Class<WorkerStageConfiguration> configurationClass() {
    return WorkerStageConfiguration.class;
  }

  @Override
  public String identifier() {
    return "beam:schematransform:io.gracebeam:" + name + ":v1";
  }

  @Override
  public String description() {
    return description;
  }

  @Override
  public List<String> inputCollectionNames() {
    return List.of(INPUT, EARLIER);
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(OUTPUT, ERRORS);
  }

  @Override
  protected SchemaTransform from(WorkerStageConfiguration configuration) {
    return new OnRows(stage(configuration.client()));
  }

  private static final class OnRows extends SchemaTransform {
    private final transient WorkerStage<?> stage;

    OnRows(WorkerStage<?> stage) {
      this.stage = stage;
    }

    @Override
    public PCollectionRowTuple expand(PCollectionRowTuple rows) {
      PCollection<StageTask> tasks =
          rows.get(INPUT).apply("ToTasks", Convert.fromRows(StageTask.class));
      WorkerStage<?> ready = stage;
      if (rows.has(EARLIER)) {
        PCollection<StageResult> earlier =
            rows.get(EARLIER).apply("ToResults", Convert.fromRows(StageResult.class));
        ready =
            stage.withEarlier(PCollectionList.of(earlier).apply("Earlier", StageResults.asView()));
      }
      StageOutputs outputs = tasks.apply("Run", ready);
      return PCollectionRowTuple.of(
          OUTPUT,
          outputs.results().apply("FromResults", Convert.toRows()),
          ERRORS,
          outputs.deadLetters().apply("FromDeadLetters", Convert.toRows()));
    }
  }
}
