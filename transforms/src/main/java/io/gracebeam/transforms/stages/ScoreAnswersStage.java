package io.gracebeam.transforms.stages;

import com.google.auto.service.AutoService;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.ScoreWork;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.Score;
import io.gracebeam.transforms.scoring.Scorer;
import io.gracebeam.transforms.scoring.ScoringFiles;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Scores the answers of one model to one benchmark by the rule of its format. Inputs: "questions",
 * a folder with {@value ScoringFiles#QUESTIONS}, and the units of answers. Result: "scores", a
 * folder with {@value ScoringFiles#SCORES}. A question that was refused, or is in no unit, has no
 * credit.
 */
@AutoService(LocalStage.class)
public final class ScoreAnswersStage implements LocalStage {
  private static final String QUESTIONS = "questions";

  /** For the service loader. */
  public ScoreAnswersStage() {}

  @Override
  public String stage() {
    return "score";
  }

  @Override
  public Map<String, Double> run(Job job) throws IOException {
    Scorer scorer = BenchmarkFormat.all().get(job.work(ScoreWork.class).getFormat()).scorer();
    List<Question> asked = ScoringFiles.readQuestions(job.input(QUESTIONS));
    Map<String, String> answers = new HashMap<>();
    for (Map.Entry<String, ArtifactRef> input : job.inputs().entrySet()) {
      if (!input.getKey().equals(QUESTIONS)) {
        for (GenerateResponse answer : Answers.read(input.getValue())) {
          if (answer.getError().isEmpty()) {
            answers.put(answer.getId(), answer.getText());
          }
        }
      }
    }
    Score score = Score.of(scorer, asked, answers);
    ScoringFiles.writeScore(job.out(), score);
    return Map.of("accuracy", score.accuracy(), "units", (double) score.units().size());
  }
}
