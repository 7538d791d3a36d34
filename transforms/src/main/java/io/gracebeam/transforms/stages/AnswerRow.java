package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.GenerateResponse;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;

/** What a model answered to one question. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class AnswerRow {

  /** Task that asked. */
  public abstract String getTaskId();

  /** Id within the benchmark. */
  public abstract String getQuestionId();

  /** Generated text; empty if refused. */
  public abstract String getText();

  /** Why the worker refused the question; empty if it answered. */
  public abstract String getError();

  /** A row. */
  @SchemaCreate
  public static AnswerRow of(String taskId, String questionId, String text, String error) {
    return new AutoValue_AnswerRow(taskId, questionId, text, error);
  }

  static AnswerRow of(String taskId, GenerateResponse answer) {
    return of(taskId, answer.getId(), answer.getText(), answer.getError());
  }
}
