package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.ReadBenchmark;
import io.gracebeam.transforms.stages.ScoreAnswers;
import io.gracebeam.transforms.stages.StageResult;
import java.nio.file.Path;
import java.util.List;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaFieldDescription;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.schemas.transforms.providers.ErrorHandling;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Offers {@link ScoreAnswers} as {@code beam:schematransform:io.gracebeam:score_answers:v1}. Input
 * "input": output "units" of answer_questions, whose label is MODEL/BENCHMARK. Output "output": the
 * fields of {@link io.gracebeam.transforms.stages.BenchmarkScore}.
 */
@AutoService(SchemaTransformProvider.class)
public final class ScoreAnswersProvider extends GraceProvider<ScoreAnswersProvider.Configuration> {

  /** For the service loader. */
  public ScoreAnswersProvider() {
    super("score_answers", "Scores answers by the rule of a benchmark.", INPUT);
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          ReadBenchmark benchmark =
              ReadBenchmark.of(
                  configuration.getFormat(),
                  Path.of(configuration.getDataset()),
                  Path.of(configuration.getScratch()));
          if (configuration.getMaxQuestions() != null) {
            benchmark = benchmark.withMaxQuestions(configuration.getMaxQuestions());
          }
          ScoreAnswers.Result result =
              rows.get(INPUT)
                  .apply("ToUnits", Convert.fromRows(StageResult.class))
                  .apply(
                      "Score",
                      ScoreAnswers.on(
                              workers(configuration.getWorkers(), configuration.getMaxInFlight()))
                          .intoStore(configuration.getStore())
                          .withBenchmark(benchmark));
          return outputs(
              result.scores().apply("ToRows", Convert.toRows()),
              result.errors(),
              configuration.getErrorHandling());
        });
  }

  /** Configuration. */
  @AutoValue
  @DefaultSchema(AutoValueSchema.class)
  public abstract static class Configuration {
    /** Addresses of the workers, host:port. */
    @SchemaFieldDescription("Addresses of the workers, host:port.")
    public abstract List<String> getWorkers();

    /** Calls in flight per worker and JVM. */
    @SchemaFieldDescription("Calls in flight per worker and JVM; default 4.")
    public abstract @Nullable Integer getMaxInFlight();

    /** Root of the artifact store. */
    @SchemaFieldDescription("Root of the artifact store.")
    public abstract String getStore();

    /** Format of the benchmark, for instance pope. */
    @SchemaFieldDescription("Format of the benchmark, for instance pope.")
    public abstract String getFormat();

    /** Folder with the question file. */
    @SchemaFieldDescription("Folder with the question file.")
    public abstract String getDataset();

    /** Folder for images that a question file carries within itself. */
    @SchemaFieldDescription("Folder for images that a question file carries within itself.")
    public abstract String getScratch();

    /** Reads only the first questions. */
    @SchemaFieldDescription("Reads only the first questions; default all.")
    public abstract @Nullable Integer getMaxQuestions();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_ScoreAnswersProvider_Configuration.Builder();
    }

    /** Builder. */
    @AutoValue.Builder
    public abstract static class Builder {
      /** Sets workers. */
      public abstract Builder setWorkers(List<String> workers);

      /** Sets maxInFlight. */
      public abstract Builder setMaxInFlight(@Nullable Integer maxInFlight);

      /** Sets store. */
      public abstract Builder setStore(String store);

      /** Sets format. */
      public abstract Builder setFormat(String format);

      /** Sets dataset. */
      public abstract Builder setDataset(String dataset);

      /** Sets scratch. */
      public abstract Builder setScratch(String scratch);

      /** Sets maxQuestions. */
      public abstract Builder setMaxQuestions(@Nullable Integer maxQuestions);

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
