package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.TokenSignal;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;

/** What the teacher thought of one supervised token. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class TokenRow {

  /** Extraction task. */
  public abstract String getTaskId();

  /** Example of the dataset. */
  public abstract String getExampleId();

  /** Position among the example's supervised tokens, from 0. */
  public abstract int getPosition();

  /** Entropy at temperature 1, nats. */
  public abstract float getEntropy();

  /** Log-probability of the target at temperature 1, nats. */
  public abstract float getTargetLogProb();

  /** The teacher's most probable token is the target. */
  public abstract boolean getCorrect();

  /** Question type. */
  public abstract String getType();

  /** Probability of the most probable token. */
  public abstract float getTopProbability();

  /** What a signal says of the token at that position. */
  public static TokenRow of(String taskId, String exampleId, int position, TokenSignal signal) {
    return new AutoValue_TokenRow(
        taskId,
        exampleId,
        position,
        signal.getEntropy(),
        signal.getTargetLogProb(),
        signal.getCorrect(),
        signal.getType(),
        signal.getTopProbability());
  }
}
