package io.gracebeam.transforms.stages;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.View;
import org.apache.beam.sdk.values.PCollection;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AnswerQuestionsTest {
  @TempDir Path temp;

  private static List<QuestionRow> questions(int count) {
    List<QuestionRow> questions = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      questions.add(QuestionRow.of("q%02d".formatted(i), List.of(), "What?", List.of()));
    }
    return questions;
  }

  private AnswerQuestions ask(InProcessWorkers workers) {
    return AnswerQuestions.on(workers.client())
        .intoStore(temp.resolve("store").toString())
        .withModel(Artifact.of(Demo.ref("model", '1')))
        .withQuestionsPerUnit(4);
  }

  private static AnswerQuestions.Result answer(
      Pipeline pipeline, List<QuestionRow> questions, AnswerQuestions ask) {
    return pipeline.apply(Create.of(questions)).apply("Ask", ask);
  }

  @Test
  void unitsDoNotDependOnTheOrderOfQuestionsOrTheNumberOfWorkers() {
    List<QuestionRow> questions = questions(10);
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Pipeline pipeline = Demo.pipeline();
      PCollection<AnswerRow> answers = answer(pipeline, questions, ask(workers)).answers();
      PAssert.that(answers)
          .satisfies(
              rows -> {
                assertThat(rows).hasSize(10);
                return null;
              });
      pipeline.run().waitUntilFinish();
      assertThat(workers.executions()).isEqualTo(3);
    }
    Collections.shuffle(questions, new Random(7));
    try (InProcessWorkers workers = InProcessWorkers.start(3)) {
      Pipeline pipeline = Demo.pipeline();
      answer(pipeline, questions, ask(workers));
      pipeline.run().waitUntilFinish();
      assertThat(workers.executions()).isZero();
      Pipeline longer = Demo.pipeline();
      answer(longer, questions, ask(workers).withMaxNewTokens(7));
      longer.run().waitUntilFinish();
      assertThat(workers.executions()).isEqualTo(3);
    }
  }

  @Test
  void theModelMayComeFromThePipeline() {
    try (InProcessWorkers workers = InProcessWorkers.start(1)) {
      Pipeline pipeline = Demo.pipeline();
      var model =
          pipeline
              .apply("Model", Create.of(Artifact.of(Demo.ref("model", '2'))))
              .apply(View.asSingleton());
      AnswerQuestions.Result result = answer(pipeline, questions(2), ask(workers).withModel(model));
      PAssert.that(result.answers())
          .satisfies(
              rows -> {
                assertThat(rows).extracting(AnswerRow::getQuestionId).contains("q00", "q01");
                return null;
              });
      pipeline.run().waitUntilFinish();
    }
  }

  @Test
  void refusedAndRepeatedQuestionsAreErrors() {
    try (InProcessWorkers workers =
        InProcessWorkers.start(Faults.none().withBadIds(Set.of("q01")))) {
      List<QuestionRow> questions = questions(3);
      questions.add(QuestionRow.of("q02", List.of(), "Why?", List.of()));
      Pipeline pipeline = Demo.pipeline();
      AnswerQuestions.Result result = answer(pipeline, questions, ask(workers));
      PAssert.that(result.errors())
          .containsInAnyOrder(
              DeadLetter.of(
                  "answer", "questions", "q02", "question id stands twice; ids must differ"),
              DeadLetter.of("answer", "questions/u0000", "q01", "image of q01 is not an image"));
      PAssert.that(result.errors().apply("Bad", DeadLetter.toBadRecords()))
          .satisfies(
              records -> {
                assertThat(records)
                    .anySatisfy(
                        record -> {
                          assertThat(record.getRecord().getHumanReadableJsonRecord())
                              .contains("\"id\":\"q01\"");
                          assertThat(record.getFailure().getDescription())
                              .isEqualTo("image of q01 is not an image");
                        });
                return null;
              });
      pipeline.run().waitUntilFinish();
    }
  }

  @Test
  void settingsAreChecked() {
    AnswerQuestions ask = AnswerQuestions.on(Workers.of("localhost:1"));
    assertThatThrownBy(() -> ask.withBatch(0))
        .hasMessage("AnswerQuestions: withBatch is 0; it must be at least 1");
    assertThatThrownBy(() -> answer(Demo.pipeline(), questions(1), ask.intoStore("store")))
        .isInstanceOf(GraceException.class)
        .hasMessage("AnswerQuestions: withModel is missing; call it once");
  }
}
