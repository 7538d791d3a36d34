package io.gracebeam.transforms.stages;

import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;

/**
 * Extracts the teacher's signals of units of examples.
 *
 * <p>Request: {@code ExtractRequest} with {@code first}, {@code count}, {@code cache}, {@code
 * temperature}. Inputs: "teacher", "dataset". Result: "teacher-signals", a folder with the tensors
 * and {@code tokens.pb} (see {@link Signals}). An example that the worker refuses is a dead letter
 * with its id; the rest of the unit is there.
 */
public final class ExtractTeacher {
  private ExtractTeacher() {}

  /**
   * Reads the token statistics of extracted units from their artifacts: one row per supervised
   * token.
   */
  public static PTransform<PCollection<StageResult>, PCollection<TokenRow>> readTokens() {
    return new ReadTokens();
  }

  private static final class ReadTokens
      extends PTransform<PCollection<StageResult>, PCollection<TokenRow>> {
    private static final long serialVersionUID = 1L;

    @Override
    public PCollection<TokenRow> expand(PCollection<StageResult> results) {
      return results.apply(ParDo.of(new ReadTokensFn()));
    }
  }

  private static final class ReadTokensFn extends DoFn<StageResult, TokenRow> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<TokenRow> out) {
      Signals.rows(result.getTaskId(), result.manifest().getArtifact()).forEach(out::output);
    }
  }
}
