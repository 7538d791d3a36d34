package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.AnswerQuestions;
import io.gracebeam.transforms.stages.WorkerStage;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;

/**
 * Offers {@link AnswerQuestions} as {@code beam:schematransform:io.gracebeam:answer_questions:v1}.
 */
@AutoService(SchemaTransformProvider.class)
public final class AnswerQuestionsProvider extends WorkerStageProvider {

  /** For the service loader. */
  public AnswerQuestionsProvider() {
    super("answer_questions", "Asks models units of questions.");
  }

  @Override
  WorkerStage<?> stage(Workers workers) {
    return AnswerQuestions.of(workers);
  }
}
