package io.gracebeam.transforms.stages;

import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;

/** What every stage gives: results, and the records that could not be used. */
public final class StageOutputs implements POutput {
  static final TupleTag<StageResult> RESULTS = new TupleTag<>("results") {};
  static final TupleTag<DeadLetter> DEAD_LETTERS = new TupleTag<>("deadLetters") {};

  private final PCollection<StageResult> results;
  private final PCollection<DeadLetter> deadLetters;

  StageOutputs(PCollection<StageResult> results, PCollection<DeadLetter> deadLetters) {
    this.results = results;
    this.deadLetters = deadLetters;
  }

  /** One result for each task that was not refused. */
  public PCollection<StageResult> results() {
    return results;
  }

  /** Refused examples, questions and tasks. */
  public PCollection<DeadLetter> deadLetters() {
    return deadLetters;
  }

  @Override
  public Pipeline getPipeline() {
    return results.getPipeline();
  }

  @Override
  public Map<TupleTag<?>, PValue> expand() {
    return Map.of(RESULTS, results, DEAD_LETTERS, deadLetters);
  }

  @Override
  public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}
}
