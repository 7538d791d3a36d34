package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.client.Workers;
import java.util.Map;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Redistribute;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.TupleTagList;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Runs tasks of any kind in the stage table: resolves the inputs, computes the stage key, looks it
 * up, and runs the task only if nothing is published under the key. A worker runs it, or this
 * process, as the kind's row says. All other transforms of this package are built on this one.
 *
 * <p>Bounded input. Effects are idempotent: a bundle that is run again finds what it published.
 * Tasks are spread freely over the runner's machines; several of a bundle run at once, up to the
 * workers' bound on calls in flight.
 *
 * <p>Errors of category data become dead letters; all others fail the pipeline with one line.
 */
@AutoValue
public abstract class RunStages extends PTransform<PCollection<StageTask>, StageOutputs> {

  /** Workers to call. */
  public abstract Workers workers();

  /** Manifests of earlier stages by task id; absent if no task refers to one. */
  public abstract @Nullable PCollectionView<Map<String, byte[]>> earlier();

  /** Runs tasks on the given workers. */
  public static RunStages on(Workers workers) {
    return new AutoValue_RunStages(workers, null);
  }

  /** Also resolves references to earlier results, as {@link StageResults#asView} gives them. */
  public RunStages withEarlier(PCollectionView<Map<String, byte[]>> earlier) {
    return new AutoValue_RunStages(workers(), earlier);
  }

  @Override
  public StageOutputs expand(PCollection<StageTask> tasks) {
    if (tasks.isBounded() == PCollection.IsBounded.UNBOUNDED) {
      throw new IllegalArgumentException(
          getName() + ": tasks are unbounded; only bounded collections are allowed");
    }
    ParDo.MultiOutput<StageTask, StageResult> run =
        ParDo.of(new RunStageFn(workers(), earlier()))
            .withOutputTags(StageOutputs.RESULTS, TupleTagList.of(StageOutputs.DEAD_LETTERS));
    if (earlier() != null) {
      run = run.withSideInputs(earlier());
    }
    PCollectionTuple outputs =
        tasks.apply("Spread", Redistribute.<StageTask>arbitrarily()).apply("LookUpOrRun", run);
    return new StageOutputs(
        outputs.get(StageOutputs.RESULTS), outputs.get(StageOutputs.DEAD_LETTERS));
  }
}
