package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.Works;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.transforms.client.Workers;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Writes the models that users deploy: compressed-tensors folders for quantized variants of a
 * recipe, dense folders for others. An element is an artifact of kind "trained", whose scales were
 * trained, or of kind "model", which is rounded to nearest.
 */
@AutoValue
public abstract class ExportModels extends PTransform<PCollection<Artifact>, ArtifactOutputs> {
  private static final String NAME = "ExportModels";

  abstract Workers workers();

  abstract @Nullable String store();

  abstract @Nullable Variant variant();

  abstract long seed();

  /** Exports on the given workers, with seed 0. */
  public static ExportModels on(Workers workers) {
    return new AutoValue_ExportModels(workers, null, null, 0);
  }

  /** Sets the artifact store: a URI, or a folder. Required. */
  public ExportModels intoStore(String store) {
    return new AutoValue_ExportModels(workers(), Settings.store(NAME, store), variant(), seed());
  }

  /**
   * Sets how models are exported. Required.
   *
   * @param recipe a resolved recipe
   * @param variant name of one of its variants
   * @throws GraceException (user) if the recipe has no such variant
   */
  public ExportModels withRecipe(Recipe recipe, String variant) {
    return new AutoValue_ExportModels(
        workers(), store(), Recipes.variant(NAME, recipe, variant), seed());
  }

  /** Sets the seed, which is part of the stage key. */
  public ExportModels withSeed(long seed) {
    return new AutoValue_ExportModels(workers(), store(), variant(), seed);
  }

  @Override
  public ArtifactOutputs expand(PCollection<Artifact> models) {
    Settings.bounded(NAME, models);
    Settings.required(NAME, "intoStore", store());
    Settings.required(NAME, "withRecipe", variant());
    return ArtifactOutputs.of(
        models.apply("Tasks", ParDo.of(new TaskFn(this))).apply("Export", RunStages.on(workers())));
  }

  private static final class TaskFn extends DoFn<Artifact, StageTask> {
    private static final long serialVersionUID = 1L;
    private final ExportModels settings;

    TaskFn(ExportModels settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(@Element Artifact model, OutputReceiver<StageTask> out) {
      boolean trained = model.getKind().equals("trained");
      out.output(
          StageTask.of(
                  "export/%.12s/s%d".formatted(model.getSha256(), settings.seed()),
                  "export",
                  Works.export(settings.variant()),
                  settings.seed(),
                  settings.store())
              .withInput(trained ? "trained" : "model", model.ref()));
    }
  }
}
