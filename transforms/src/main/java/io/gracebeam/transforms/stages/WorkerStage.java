package io.gracebeam.transforms.stages;

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
 * What all stages that call a worker have in common: resolve inputs, compute the stage key, look it
 * up, call a worker only if nothing is published under it.
 *
 * <p>Bounded input. Effects are idempotent: a bundle that is run again finds what it published.
 * Tasks are spread freely over the runner's machines; several of a bundle run at once, up to the
 * workers' bound on calls in flight.
 *
 * <p>Errors of category data become dead letters; all others fail the pipeline with one line.
 *
 * @param <SelfT> the concrete stage
 */
public abstract class WorkerStage<SelfT extends WorkerStage<SelfT>>
    extends PTransform<PCollection<StageTask>, StageOutputs> {

  /** Workers to call. */
  public abstract Workers workers();

  /** Manifests of earlier stages by task id; absent if no task refers to one. */
  public abstract @Nullable PCollectionView<Map<String, byte[]>> earlier();

  /** The same stage with the results of earlier ones, as {@link StageResults#asView} gives them. */
  public abstract SelfT withEarlier(PCollectionView<Map<String, byte[]>> earlier);

  /** What to ask of a worker. */
  abstract StageCall call();

  @Override
  public StageOutputs expand(PCollection<StageTask> tasks) {
    if (tasks.isBounded() == PCollection.IsBounded.UNBOUNDED) {
      throw new IllegalArgumentException(
          getName() + ": tasks are unbounded; only bounded collections are allowed");
    }
    ParDo.MultiOutput<StageTask, StageResult> run =
        ParDo.of(new RunStageFn(call(), workers(), earlier()))
            .withOutputTags(StageOutputs.RESULTS, TupleTagList.of(StageOutputs.DEAD_LETTERS));
    if (earlier() != null) {
      run = run.withSideInputs(earlier());
    }
    PCollectionTuple outputs =
        tasks.apply("Spread", Redistribute.<StageTask>arbitrarily()).apply("LookUpOrCall", run);
    return new StageOutputs(
        outputs.get(StageOutputs.RESULTS), outputs.get(StageOutputs.DEAD_LETTERS));
  }
}
