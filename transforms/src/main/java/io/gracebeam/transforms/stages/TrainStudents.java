package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.recipe.Works;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.transforms.client.Workers;
import java.util.ArrayList;
import java.util.List;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionView;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Trains students as a variant of a recipe says, each in one shard and one round. An element is a
 * starting model; the result is an artifact of kind "trained", which {@link ExportModels} makes a
 * model of.
 *
 * <p>The same recipe, variant, inputs and seed give the stage key that {@code grace run} has, so a
 * student that either has trained is there for both.
 */
@AutoValue
public abstract class TrainStudents extends PTransform<PCollection<Artifact>, ArtifactOutputs> {
  private static final String NAME = "TrainStudents";

  abstract Workers workers();

  abstract @Nullable String store();

  abstract @Nullable TrainWork work();

  abstract @Nullable Artifact dataset();

  abstract @Nullable Given signals();

  abstract long seed();

  abstract Builder toBuilder();

  /** Trains on the given workers, with seed 0. */
  public static TrainStudents on(Workers workers) {
    return new AutoValue_TrainStudents.Builder().workers(workers).seed(0).build();
  }

  /** Sets the artifact store: a URI, or a folder. Required. */
  public TrainStudents intoStore(String store) {
    return toBuilder().store(Settings.store(NAME, store)).build();
  }

  /**
   * Sets what is trained. Required.
   *
   * @param recipe a resolved recipe
   * @param variant name of one of its variants
   * @throws GraceException (user) if the recipe has no such variant
   */
  public TrainStudents withRecipe(Recipe recipe, String variant) {
    return toBuilder().work(Works.train(recipe, Recipes.variant(NAME, recipe, variant))).build();
  }

  /** Sets the training set. Required. */
  public TrainStudents withDataset(Artifact dataset) {
    return toBuilder().dataset(dataset).build();
  }

  /** Sets the teacher's joined signals. Required for variants that distill. */
  public TrainStudents withSignals(Artifact signals) {
    return toBuilder().signals(Given.of(signals)).build();
  }

  /** Sets the teacher's joined signals to the only element of a collection. */
  public TrainStudents withSignals(PCollectionView<Artifact> signals) {
    return toBuilder().signals(Given.of(signals)).build();
  }

  /** Sets the seed of everything random. */
  public TrainStudents withSeed(long seed) {
    return toBuilder().seed(seed).build();
  }

  @Override
  public ArtifactOutputs expand(PCollection<Artifact> students) {
    Settings.bounded(NAME, students);
    Settings.required(NAME, "intoStore", store());
    Settings.required(NAME, "withDataset", dataset());
    boolean distils = Variants.distils(Settings.required(NAME, "withRecipe", work()).getVariant());
    if (distils != (signals() != null)) {
      throw GraceException.user(
          "%s: the variant %s, but withSignals is %s",
          NAME, distils ? "distills" : "does not distill", distils ? "missing" : "given");
    }
    return ArtifactOutputs.of(
        students
            .apply("Tasks", ParDo.of(new TaskFn(this)).withSideInputs(sideInputs()))
            .apply("Train", RunStages.on(workers())));
  }

  private List<PCollectionView<?>> sideInputs() {
    return signals() == null ? new ArrayList<>() : signals().sideInputs();
  }

  private static final class TaskFn extends DoFn<Artifact, StageTask> {
    private static final long serialVersionUID = 1L;
    private final TrainStudents settings;

    TaskFn(TrainStudents settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(ProcessContext context) {
      Artifact student = context.element();
      StageTask task =
          StageTask.of(
                  "train/%.12s/s%d".formatted(student.getSha256(), settings.seed()),
                  "train",
                  settings.work(),
                  settings.seed(),
                  settings.store())
              .withInput("student", student.ref())
              .withInput("dataset", settings.dataset().ref());
      context.output(
          settings.signals() == null
              ? task
              : task.withInput("signals", settings.signals().get(context).ref()));
    }
  }

  @AutoValue.Builder
  abstract static class Builder {
    abstract Builder workers(Workers workers);

    abstract Builder store(String store);

    abstract Builder work(TrainWork work);

    abstract Builder dataset(Artifact dataset);

    abstract Builder signals(Given signals);

    abstract Builder seed(long seed);

    abstract TrainStudents build();
  }
}
