package io.gracebeam.transforms.stages;

import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;

/**
 * Asks a model a unit of questions; answers decode greedily on the very weights that the model
 * folder holds.
 *
 * <p>Request: {@code GenerateRequest} with questions whose images are relative to the input
 * "images". Inputs: "model", and "images" where a question has any. Result: "answers", a folder
 * with {@code answers.jsonl} (see {@link Answers}) that this stage publishes itself under the stage
 * key. A question that the worker refuses is a line with an error there, and a dead letter.
 */
public final class AnswerQuestions {
  private AnswerQuestions() {}

  /** Reads the answers of asked units from their artifacts: one row per question. */
  public static PTransform<PCollection<StageResult>, PCollection<AnswerRow>> readAnswers() {
    return new ReadAnswers();
  }

  private static final class ReadAnswers
      extends PTransform<PCollection<StageResult>, PCollection<AnswerRow>> {
    private static final long serialVersionUID = 1L;

    @Override
    public PCollection<AnswerRow> expand(PCollection<StageResult> results) {
      return results.apply(ParDo.of(new ReadAnswersFn()));
    }
  }

  private static final class ReadAnswersFn extends DoFn<StageResult, AnswerRow> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<AnswerRow> out) {
      Answers.read(result.manifest().getArtifact())
          .forEach(answer -> out.output(AnswerRow.of(result.getTaskId(), answer)));
    }
  }
}
