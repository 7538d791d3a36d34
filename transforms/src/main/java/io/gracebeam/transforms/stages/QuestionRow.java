package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.Question;
import java.util.List;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;

/** A question to a model. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class QuestionRow {

  /** Unique among the questions that are asked together. */
  public abstract String getId();

  /** Paths of its images, relative to the artifact of images; empty for a question of text. */
  public abstract List<String> getImages();

  /** What the user says, without image placeholders. */
  public abstract String getPrompt();

  /** Texts whose log-probabilities are scored as well; mostly empty. */
  public abstract List<String> getChoices();

  /** A question. */
  @SchemaCreate
  public static QuestionRow of(
      String id, List<String> images, String prompt, List<String> choices) {
    return new AutoValue_QuestionRow(id, images, prompt, choices);
  }

  Question message() {
    return Question.newBuilder()
        .setId(getId())
        .addAllImages(getImages())
        .setPrompt(getPrompt())
        .addAllChoices(getChoices())
        .build();
  }
}
