package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import io.gracebeam.transforms.stages.RunStages;
import io.gracebeam.transforms.stages.StageOutputs;
import io.gracebeam.transforms.stages.StageResult;
import io.gracebeam.transforms.stages.StageResults;
import io.gracebeam.transforms.stages.StageTask;
import java.util.List;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.schemas.transforms.TypedSchemaTransformProvider;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionRowTuple;

/**
 * {@link RunStages} on rows. Inputs "input" (the fields of {@link StageTask}) and optionally
 * "earlier" (of {@link StageResult}); outputs "output" (of {@link StageResult}) and "errors" (of
 * {@code DeadLetter}).
 */
@AutoService(SchemaTransformProvider.class)
public final class RunStagesProvider
    extends TypedSchemaTransformProvider<WorkerStageConfiguration> {
  static final String INPUT = "input";
  static final String EARLIER = "earlier";
  static final String OUTPUT = "output";
  static final String ERRORS = "errors";

  /** For the service loader. */
  public RunStagesProvider() {}

  @Override
  protected Class<WorkerStageConfiguration> configurationClass() {
    return WorkerStageConfiguration.class;
  }

  @Override
  public String identifier() {
    return "beam:schematransform:io.gracebeam:run_stages:v1";
  }

  @Override
  public String description() {
    return "Runs tasks of stages.";
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
    return new OnRows(RunStages.on(configuration.client()));
  }

  private static final class OnRows extends SchemaTransform {
    private final transient RunStages stage;

    OnRows(RunStages stage) {
      this.stage = stage;
    }

    @Override
    public PCollectionRowTuple expand(PCollectionRowTuple rows) {
      PCollection<StageTask> tasks =
          rows.get(INPUT).apply("ToTasks", Convert.fromRows(StageTask.class));
      RunStages ready = stage;
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
