package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;

/** A record that could not be used: which, where, and why. Everything else of the run goes on. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class DeadLetter {

  /** Stage that refused it. */
  public abstract String getStage();

  /** Task in which it was refused. */
  public abstract String getTaskId();

  /** Id of the example, question or task. */
  public abstract String getId();

  /** One line. */
  public abstract String getReason();

  /** A dead letter. */
  @SchemaCreate
  public static DeadLetter of(String stage, String taskId, String id, String reason) {
    return new AutoValue_DeadLetter(stage, taskId, id, reason);
  }
}
