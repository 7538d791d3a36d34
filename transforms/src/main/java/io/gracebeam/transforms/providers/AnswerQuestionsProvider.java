package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.AnswerQuestions;
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
 * Offers {@link AnswerQuestions} as {@code beam:schematransform:io.gracebeam:answer_questions:v1}.
 * Input "input": rows with id, prompt and optionally image or images, choices; optionally input
 * "model": one row with the model's uri. Output "output": the fields of {@link
 * io.gracebeam.transforms.stages.AnswerRow}; output "units": what score_answers takes.
 */
@AutoService(SchemaTransformProvider.class)
public final class AnswerQuestionsProvider
    extends GraceProvider<AnswerQuestionsProvider.Configuration> {

  /** For the service loader. */
  public AnswerQuestionsProvider() {
    super("answer_questions", "Asks a model questions.", INPUT, "model");
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          AnswerQuestions answer =
              AnswerQuestions.on(
                      workers(configuration.getWorkers(), configuration.getMaxInFlight()))
                  .intoStore(configuration.getStore());
          answer =
              choose(rows, "model", configuration.getModel(), answer::withModel, answer::withModel);
          if (configuration.getImages() != null) {
            answer = answer.withImages(artifact("images", configuration.getImages()));
          }
          if (configuration.getMaxNewTokens() != null) {
            answer = answer.withMaxNewTokens(configuration.getMaxNewTokens());
          }
          if (configuration.getBatch() != null) {
            answer = answer.withBatch(configuration.getBatch());
          }
          if (configuration.getQuestionsPerUnit() != null) {
            answer = answer.withQuestionsPerUnit(configuration.getQuestionsPerUnit());
          }
          if (configuration.getLabel() != null) {
            answer = answer.withLabel(configuration.getLabel());
          }
          AnswerQuestions.Result result = Rows.questions(rows, INPUT).apply("Answer", answer);
          return outputs(
                  result.answers().apply("ToRows", Convert.toRows()),
                  result.errors(),
                  configuration.getErrorHandling())
              .and("units", result.units().apply("UnitsToRows", Convert.toRows()));
        });
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(OUTPUT, "units", ERRORS);
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

    /** Folder of the model. */
    @SchemaFieldDescription("Folder of the model; or give an input of this name.")
    public abstract @Nullable String getModel();

    /** Folder of the images that questions name. */
    @SchemaFieldDescription("Folder of the images that questions name.")
    public abstract @Nullable String getImages();

    /** Longest answer in tokens. */
    @SchemaFieldDescription("Longest answer in tokens; default 32.")
    public abstract @Nullable Integer getMaxNewTokens();

    /** Questions that a worker answers at once. */
    @SchemaFieldDescription("Questions that a worker answers at once; default 8.")
    public abstract @Nullable Integer getBatch();

    /** Questions per unit of work. */
    @SchemaFieldDescription("Questions per unit of work; default 64.")
    public abstract @Nullable Integer getQuestionsPerUnit();

    /** Beginning of the units' ids, MODEL/BENCHMARK. */
    @SchemaFieldDescription("Beginning of the units' ids, MODEL/BENCHMARK; default questions.")
    public abstract @Nullable String getLabel();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_AnswerQuestionsProvider_Configuration.Builder();
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

      /** Sets model. */
      public abstract Builder setModel(@Nullable String model);

      /** Sets images. */
      public abstract Builder setImages(@Nullable String images);

      /** Sets maxNewTokens. */
      public abstract Builder setMaxNewTokens(@Nullable Integer maxNewTokens);

      /** Sets batch. */
      public abstract Builder setBatch(@Nullable Integer batch);

      /** Sets questionsPerUnit. */
      public abstract Builder setQuestionsPerUnit(@Nullable Integer questionsPerUnit);

      /** Sets label. */
      public abstract Builder setLabel(@Nullable String label);

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
