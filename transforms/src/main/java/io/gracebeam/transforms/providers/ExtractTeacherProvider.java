package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.transforms.stages.ExtractTeacher;
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
 * Offers {@link ExtractTeacher} as {@code beam:schematransform:io.gracebeam:extract_teacher:v1}.
 * Input "input": rows with the uri of a dataset; optionally input "teacher": one row with the
 * teacher's uri. Output "output": the fields of {@link io.gracebeam.transforms.stages.TokenRow};
 * output "units": what join_signals takes.
 */
@AutoService(SchemaTransformProvider.class)
public final class ExtractTeacherProvider
    extends GraceProvider<ExtractTeacherProvider.Configuration> {

  /** For the service loader. */
  public ExtractTeacherProvider() {
    super(
        "extract_teacher",
        "Extracts what a teacher knows of the examples of datasets.",
        INPUT,
        "teacher");
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          ExtractTeacher extract =
              ExtractTeacher.on(workers(configuration.getWorkers(), configuration.getMaxInFlight()))
                  .intoStore(configuration.getStore())
                  .withCache(cache(configuration));
          extract =
              choose(
                  rows,
                  "teacher",
                  configuration.getTeacher(),
                  extract::withTeacher,
                  extract::withTeacher);
          if (configuration.getTemperature() != null) {
            extract = extract.withTemperature(configuration.getTemperature());
          }
          if (configuration.getMaxExamples() != null) {
            extract = extract.withMaxExamples(configuration.getMaxExamples());
          }
          if (configuration.getExamplesPerUnit() != null) {
            extract = extract.withExamplesPerUnit(configuration.getExamplesPerUnit());
          }
          ExtractTeacher.Result result =
              Rows.artifacts(rows, INPUT, "dataset").apply("Extract", extract);
          return outputs(
                  result.tokens().apply("ToRows", Convert.toRows()),
                  result.errors(),
                  configuration.getErrorHandling())
              .and("units", result.units().apply("UnitsToRows", Convert.toRows()));
        });
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(OUTPUT, "units", ERRORS);
  }

  private static TeacherCache cache(Configuration configuration) {
    boolean full = "full".equals(configuration.getForm());
    TeacherCache.Builder cache =
        TeacherCache.newBuilder()
            .setForm(configuration.getForm() == null ? "top-k" : configuration.getForm())
            .setGram(configuration.getGram() == null ? "bf16" : configuration.getGram());
    if (!full) {
      cache.setTopK(configuration.getTopK() == null ? 64 : configuration.getTopK());
    }
    return cache.build();
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

    /** Folder of the teacher. */
    @SchemaFieldDescription("Folder of the teacher; or give an input of this name.")
    public abstract @Nullable String getTeacher();

    /** Logits that are kept: top-k (default) or full. */
    @SchemaFieldDescription("Logits that are kept: top-k (default) or full.")
    public abstract @Nullable String getForm();

    /** Logits of each token with top-k. */
    @SchemaFieldDescription("Logits of each token with top-k; default 64.")
    public abstract @Nullable Integer getTopK();

    /** Similarities of visual tokens: bf16 (default), f32 or none. */
    @SchemaFieldDescription("Similarities of visual tokens: bf16 (default), f32 or none.")
    public abstract @Nullable String getGram();

    /** Temperature of cached probabilities. */
    @SchemaFieldDescription("Temperature of cached probabilities; default 1.")
    public abstract @Nullable Double getTemperature();

    /** Takes only the first examples. */
    @SchemaFieldDescription("Takes only the first examples; default all.")
    public abstract @Nullable Integer getMaxExamples();

    /** Examples per unit of work. */
    @SchemaFieldDescription("Examples per unit of work; default 512.")
    public abstract @Nullable Integer getExamplesPerUnit();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_ExtractTeacherProvider_Configuration.Builder();
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

      /** Sets teacher. */
      public abstract Builder setTeacher(@Nullable String teacher);

      /** Sets form. */
      public abstract Builder setForm(@Nullable String form);

      /** Sets topK. */
      public abstract Builder setTopK(@Nullable Integer topK);

      /** Sets gram. */
      public abstract Builder setGram(@Nullable String gram);

      /** Sets temperature. */
      public abstract Builder setTemperature(@Nullable Double temperature);

      /** Sets maxExamples. */
      public abstract Builder setMaxExamples(@Nullable Integer maxExamples);

      /** Sets examplesPerUnit. */
      public abstract Builder setExamplesPerUnit(@Nullable Integer examplesPerUnit);

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
