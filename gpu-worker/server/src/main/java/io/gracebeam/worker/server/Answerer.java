package io.gracebeam.worker.server;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.export.PackedModel;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.Generated;
import io.gracebeam.worker.methods.model.Generator;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.Prompt;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.text.Turn;
import java.util.ArrayList;
import java.util.List;

/**
 * A model of any family with what makes its inputs; answers questions and gives teacher signals.
 */
final class Answerer implements WorkMethods.LoadedModel {
  private final VisionLanguageModel model;
  private final InputMaker inputs;
  private final Generator generator;

  private Answerer(VisionLanguageModel model, InputMaker inputs) {
    this.model = model;
    this.inputs = inputs;
    this.generator = new Generator(model, inputs);
  }

  /**
   * Loads a model folder, dense or pack-quantized.
   *
   * @throws GraceException data, for anything wrong in the folder
   */
  static Answerer load(EngineHandle engine, ModelFolder folder) {
    InputMaker inputs = folder.inputs();
    try {
      return new Answerer(PackedModel.load(engine, folder), inputs);
    } catch (RuntimeException | Error e) {
      inputs.close();
      throw e;
    }
  }

  VisionLanguageModel model() {
    return model;
  }

  InputMaker inputs() {
    return inputs;
  }

  @Override
  public void check(WorkMethods.Asked asked) {
    generator.check(prompt(asked));
  }

  @Override
  public List<GenerateResponse> answer(List<WorkMethods.Asked> questions, int maxNewTokens) {
    List<Prompt> prompts = questions.stream().map(Answerer::prompt).toList();
    List<Generated> generated = generator.generate(prompts, maxNewTokens);
    List<GenerateResponse> answers = new ArrayList<>();
    for (int i = 0; i < generated.size(); i++) {
      Generated one = generated.get(i);
      GenerateResponse.Builder answer =
          GenerateResponse.newBuilder()
              .setId(questions.get(i).question().getId())
              .setText(one.text());
      for (int id : one.ids()) {
        answer.addTokenIds(id);
      }
      for (float logProb : one.logProbs()) {
        answer.addLogProbs(logProb);
      }
      List<String> choices = questions.get(i).question().getChoicesList();
      if (!choices.isEmpty()) {
        for (float score :
            generator.scoreChoices(List.of(prompts.get(i)), List.of(choices)).getFirst()) {
          answer.addChoiceLogProbs(score);
        }
      }
      answers.add(answer.build());
    }
    return answers;
  }

  private static Prompt prompt(WorkMethods.Asked asked) {
    Question question = asked.question();
    List<Turn> turns = new ArrayList<>();
    for (io.gracebeam.proto.v1.Turn turn : question.getHistoryList()) {
      turns.add(new Turn(turn.getHuman(), turn.getAssistant()));
    }
    turns.add(new Turn(question.getPrompt(), ""));
    return new Prompt(asked.images(), turns);
  }

  @Override
  public void close() {
    model.close();
    inputs.close();
  }
}
