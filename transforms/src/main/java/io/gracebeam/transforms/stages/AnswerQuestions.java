package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.client.Workers;
import java.util.Map;
import org.apache.beam.sdk.values.PCollectionView;

/**
 * Asks a model a unit of questions; answers decode greedily on the very weights that the model
 * folder holds.
 *
 * <p>Request: {@code GenerateRequest} with questions whose images are absolute paths, or relative
 * ones to the folder of the input "images". Inputs: "model", optionally "images". Result:
 * "answers", a folder with {@code answers.jsonl} (see {@link Answers}) that this stage publishes
 * itself under the stage key. A question that the worker refuses is a line with an error there, and
 * a dead letter.
 */
@AutoValue
public abstract class AnswerQuestions extends WorkerStage<AnswerQuestions> {

  /** The stage on the given workers. */
  public static AnswerQuestions of(Workers workers) {
    return new AutoValue_AnswerQuestions(workers, null);
  }

  @Override
  public AnswerQuestions withEarlier(PCollectionView<Map<String, byte[]>> earlier) {
    return new AutoValue_AnswerQuestions(workers(), earlier);
  }

  @Override
  StageCall call() {
    return new AnswerCall();
  }
}
