package io.gracebeam.transforms.stages;

import io.gracebeam.transforms.client.Workers;
import java.util.ArrayList;
import java.util.List;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.TypeDescriptor;

/**
 * Applies stages one after another, each with the results of all before it. For building pipelines;
 * not thread-safe.
 */
final class StageChain {
  private final Pipeline pipeline;
  private final Workers workers;
  private final List<PCollection<StageResult>> results = new ArrayList<>();
  private final List<PCollection<DeadLetter>> deadLetters = new ArrayList<>();

  private StageChain(Pipeline pipeline, Workers workers) {
    this.pipeline = pipeline;
    this.workers = workers;
  }

  /** An empty chain. */
  static StageChain of(Pipeline pipeline, Workers workers) {
    return new StageChain(pipeline, workers);
  }

  /** Runs tasks under a name that is unique in the pipeline. */
  StageOutputs then(String name, List<StageTask> tasks) {
    PCollection<StageTask> created =
        pipeline.apply(
            name + "/Tasks", Create.of(tasks).withType(TypeDescriptor.of(StageTask.class)));
    RunStages ready =
        results.isEmpty()
            ? RunStages.on(workers)
            : RunStages.on(workers)
                .withEarlier(
                    PCollectionList.of(results).apply(name + "/Earlier", StageResults.asView()));
    StageOutputs outputs = created.apply(name, ready);
    results.add(outputs.results());
    deadLetters.add(outputs.deadLetters());
    return outputs;
  }

  /** Results of all stages so far; at least one must have been applied. */
  PCollection<StageResult> results(String name) {
    return PCollectionList.of(results).apply(name, Flatten.pCollections());
  }

  /** Dead letters of all stages so far; at least one must have been applied. */
  PCollection<DeadLetter> deadLetters(String name) {
    return PCollectionList.of(deadLetters).apply(name, Flatten.pCollections());
  }
}
