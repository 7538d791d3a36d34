package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.transforms.stages.ArtifactOutputs;
import io.gracebeam.transforms.stages.TrainStudents;
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
 * Offers {@link TrainStudents} as {@code beam:schematransform:io.gracebeam:train_students:v1}.
 * Input "input": rows with the uri of a student; for variants that distill input "signals": the
 * output of join_signals. Output "output": rows with kind, sha256 and uri.
 */
@AutoService(SchemaTransformProvider.class)
public final class TrainStudentsProvider
    extends GraceProvider<TrainStudentsProvider.Configuration> {

  /** For the service loader. */
  public TrainStudentsProvider() {
    super("train_students", "Trains students as a recipe says.", INPUT, "signals");
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return transform(
        rows -> {
          TrainStudents train =
              TrainStudents.on(workers(configuration.getWorkers(), configuration.getMaxInFlight()))
                  .intoStore(configuration.getStore())
                  .withRecipe(
                      RecipeReader.resolve(RecipeReader.read(Path.of(configuration.getRecipe()))),
                      configuration.getVariant())
                  .withSeed(configuration.getSeed() == null ? 0 : configuration.getSeed())
                  .withDataset(artifact("dataset", configuration.getDataset()));
          if (rows.has("signals") || configuration.getSignals() != null) {
            train =
                choose(
                    rows,
                    "signals",
                    configuration.getSignals(),
                    train::withSignals,
                    train::withSignals);
          }
          ArtifactOutputs result = Rows.artifacts(rows, INPUT, "model").apply("Train", train);
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

    /** Folder of the training set. */
    @SchemaFieldDescription("Folder of the training set.")
    public abstract String getDataset();

    /** Folder of the joined signals. */
    @SchemaFieldDescription("Folder of the joined signals; or give an input of this name.")
    public abstract @Nullable String getSignals();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_TrainStudentsProvider_Configuration.Builder();
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

      /** Sets dataset. */
      public abstract Builder setDataset(String dataset);

      /** Sets signals. */
      public abstract Builder setSignals(@Nullable String signals);

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
