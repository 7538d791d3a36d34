package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.ArtifactOutputs;
import io.gracebeam.transforms.stages.JoinSignals;
import io.gracebeam.transforms.stages.StageResult;
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
 * Offers {@link JoinSignals} as {@code beam:schematransform:io.gracebeam:join_signals:v1}. Input
 * "input": output "units" of extract_teacher; optionally input "teacher". Output "output": one row
 * with kind, sha256 and uri.
 */
@AutoService(SchemaTransformProvider.class)
public final class JoinSignalsProvider extends GraceProvider<JoinSignalsProvider.Configuration> {

  /** For the service loader. */
  public JoinSignalsProvider() {
    super("join_signals", "Joins the units of a teacher's signals.", INPUT, "teacher");
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          JoinSignals join =
              JoinSignals.on(workers(configuration.getWorkers(), configuration.getMaxInFlight()))
                  .intoStore(configuration.getStore());
          join =
              choose(
                  rows,
                  "teacher",
                  configuration.getTeacher(),
                  join::withTeacher,
                  join::withTeacher);
          ArtifactOutputs result =
              rows.get(INPUT)
                  .apply("ToUnits", Convert.fromRows(StageResult.class))
                  .apply("Join", join);
          return outputs(
              result.artifacts().apply("ToRows", Convert.toRows()),
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

    /** Folder of the teacher. */
    @SchemaFieldDescription("Folder of the teacher; or give an input of this name.")
    public abstract @Nullable String getTeacher();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_JoinSignalsProvider_Configuration.Builder();
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

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
