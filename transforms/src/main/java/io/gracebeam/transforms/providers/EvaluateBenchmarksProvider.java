package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.AnswerQuestions;
import io.gracebeam.transforms.stages.BenchmarkScore;
import io.gracebeam.transforms.stages.EvaluateBenchmarks;
import io.gracebeam.transforms.stages.StageResult;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;
import org.apache.beam.sdk.schemas.annotations.SchemaFieldDescription;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.schemas.transforms.TypedSchemaTransformProvider;
import org.apache.beam.sdk.values.PCollectionRowTuple;

/**
 * Offers {@link EvaluateBenchmarks} as {@code
 * beam:schematransform:io.gracebeam:evaluate_benchmarks:v1}. Input "input": the output of
 * "answer_questions", that is, the fields of {@link StageResult}; outputs "output": the fields of
 * {@link BenchmarkScore}, and "errors".
 */
@AutoService(SchemaTransformProvider.class)
public final class EvaluateBenchmarksProvider
    extends TypedSchemaTransformProvider<EvaluateBenchmarksProvider.Configuration> {

  /** Configuration. */
  @AutoValue
  @DefaultSchema(AutoValueSchema.class)
  public abstract static class Configuration {
    /** Folder with the question files. */
    @SchemaFieldDescription(
        "Folder with the question files (pope.json, open.json, scienceqa.json, mmbench.tsv, ...)"
            + " and benchmark-images.")
    public abstract String getDataset();

    /** Folder for images. */
    @SchemaFieldDescription("Folder for images that a question file carries within itself.")
    public abstract String getScratch();

    /** Format by name. */
    @SchemaFieldDescription(
        "Format of each benchmark (pope, open, scienceqa, mmbench, or a plug-in's) by its name in"
            + " task ids.")
    public abstract Map<String, String> getBenchmarks();

    /** A configuration. */
    @SchemaCreate
    public static Configuration of(String dataset, String scratch, Map<String, String> benchmarks) {
      return new AutoValue_EvaluateBenchmarksProvider_Configuration(dataset, scratch, benchmarks);
    }
  }

  @Override
  public String identifier() {
    return "beam:schematransform:io.gracebeam:evaluate_benchmarks:v1";
  }

  @Override
  public String description() {
    return "Scores answers by the benchmarks' official rules.";
  }

  @Override
  public List<String> inputCollectionNames() {
    return List.of(RunStagesProvider.INPUT);
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(RunStagesProvider.OUTPUT, RunStagesProvider.ERRORS);
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return new OnRows(
        EvaluateBenchmarks.of(
            Path.of(configuration.getDataset()),
            Path.of(configuration.getScratch()),
            configuration.getBenchmarks()));
  }

  private static final class OnRows extends SchemaTransform {
    private final transient EvaluateBenchmarks evaluate;

    OnRows(EvaluateBenchmarks evaluate) {
      this.evaluate = evaluate;
    }

    @Override
    public PCollectionRowTuple expand(PCollectionRowTuple rows) {
      EvaluateBenchmarks.Result result =
          rows.get(RunStagesProvider.INPUT)
              .apply("ToResults", Convert.fromRows(StageResult.class))
              .apply("ReadAnswers", AnswerQuestions.readAnswers())
              .apply("Evaluate", evaluate);
      return PCollectionRowTuple.of(
          RunStagesProvider.OUTPUT,
          result.scores().apply("FromScores", Convert.toRows()),
          RunStagesProvider.ERRORS,
          result.deadLetters().apply("FromDeadLetters", Convert.toRows()));
    }
  }
}
