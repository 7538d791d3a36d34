package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.ReadBenchmark;
import java.nio.file.Path;
import java.util.List;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaFieldDescription;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Offers {@link ReadBenchmark} as {@code beam:schematransform:io.gracebeam:read_benchmark:v1}. No
 * input. Output "output": the fields of {@link io.gracebeam.transforms.stages.QuestionRow}.
 */
@AutoService(SchemaTransformProvider.class)
public final class ReadBenchmarkProvider
    extends GraceProvider<ReadBenchmarkProvider.Configuration> {

  /** For the service loader. */
  public ReadBenchmarkProvider() {
    super("read_benchmark", "Reads the questions of a benchmark.");
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          ReadBenchmark read =
              ReadBenchmark.of(
                  configuration.getFormat(),
                  Path.of(configuration.getDataset()),
                  Path.of(configuration.getScratch()));
          if (configuration.getMaxQuestions() != null) {
            read = read.withMaxQuestions(configuration.getMaxQuestions());
          }
          return PCollectionRowTuple.of(
              OUTPUT, rows.getPipeline().apply("Read", read).apply("ToRows", Convert.toRows()));
        });
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(OUTPUT);
  }

  /** Configuration. */
  @AutoValue
  @DefaultSchema(AutoValueSchema.class)
  public abstract static class Configuration {
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

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_ReadBenchmarkProvider_Configuration.Builder();
    }

    /** Builder. */
    @AutoValue.Builder
    public abstract static class Builder {
      /** Sets format. */
      public abstract Builder setFormat(String format);

      /** Sets dataset. */
      public abstract Builder setDataset(String dataset);

      /** Sets scratch. */
      public abstract Builder setScratch(String scratch);

      /** Sets maxQuestions. */
      public abstract Builder setMaxQuestions(@Nullable Integer maxQuestions);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
