package io.gracebeam.transforms.stages;

import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;

/** What a transform gives that makes artifacts. */
public final class ArtifactOutputs implements POutput {
  private static final TupleTag<Artifact> ARTIFACTS = new TupleTag<>("artifacts") {};

  private final PCollection<Artifact> artifacts;
  private final StageOutputs outputs;

  private ArtifactOutputs(PCollection<Artifact> artifacts, StageOutputs outputs) {
    this.artifacts = artifacts;
    this.outputs = outputs;
  }

  static ArtifactOutputs of(StageOutputs outputs) {
    return new ArtifactOutputs(
        outputs.results().apply("Artifacts", ParDo.of(new ToArtifactFn())), outputs);
  }

  /** One artifact for each element that was not refused. */
  public PCollection<Artifact> artifacts() {
    return artifacts;
  }

  /** Manifests of the artifacts, and what they cost. */
  public PCollection<StageResult> results() {
    return outputs.results();
  }

  /** Elements that could not be used. */
  public PCollection<DeadLetter> errors() {
    return outputs.deadLetters();
  }

  @Override
  public Pipeline getPipeline() {
    return artifacts.getPipeline();
  }

  @Override
  public Map<TupleTag<?>, PValue> expand() {
    return Map.of(
        ARTIFACTS,
        artifacts,
        StageOutputs.RESULTS,
        outputs.results(),
        StageOutputs.DEAD_LETTERS,
        outputs.deadLetters());
  }

  @Override
  public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}

  private static final class ToArtifactFn extends DoFn<StageResult, Artifact> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<Artifact> out) {
      out.output(Artifact.of(result.manifest().getArtifact()));
    }
  }
}
