package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.transforms.stages.ArtifactOutputs;
import io.gracebeam.transforms.stages.ExportModels;
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
 * Offers {@link ExportModels} as {@code beam:schematransform:io.gracebeam:export_models:v1}. Input
 * "input": the output of train_students, or rows with the uri of a model. Output "output": rows
 * with kind, sha256 and uri.
 */
@AutoService(SchemaTransformProvider.class)
public final class ExportModelsProvider extends GraceProvider<ExportModelsProvider.Configuration> {

  /** For the service loader. */
  public ExportModelsProvider() {
    super("export_models", "Writes the models that users deploy.", INPUT);
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          ExportModels export =
              ExportModels.on(workers(configuration.getWorkers(), configuration.getMaxInFlight()))
                  .intoStore(configuration.getStore())
                  .withRecipe(
                      RecipeReader.resolve(RecipeReader.read(Path.of(configuration.getRecipe()))),
                      configuration.getVariant())
                  .withSeed(configuration.getSeed() == null ? 0 : configuration.getSeed());
          ArtifactOutputs result = Rows.artifacts(rows, INPUT, "model").apply("Export", export);
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

    /** Recipe file. */
    @SchemaFieldDescription("Recipe file.")
    public abstract String getRecipe();

    /** Name of one of the variants of the recipe. */
    @SchemaFieldDescription("Name of one of the variants of the recipe.")
    public abstract String getVariant();

    /** Seed of everything random. */
    @SchemaFieldDescription("Seed of everything random; default 0.")
    public abstract @Nullable Long getSeed();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_ExportModelsProvider_Configuration.Builder();
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

      /** Sets recipe. */
      public abstract Builder setRecipe(String recipe);

      /** Sets variant. */
      public abstract Builder setVariant(String variant);

      /** Sets seed. */
      public abstract Builder setSeed(@Nullable Long seed);

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
