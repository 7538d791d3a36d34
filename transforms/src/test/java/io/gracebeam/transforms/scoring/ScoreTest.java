package io.gracebeam.transforms.scoring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ScoreTest {
  /** An answer is the credit itself; a unit has the mean, as all scorers do by default. */
  private record Plain(Map<String, Double> figures) implements Scorer {
    @Override
    public String name() {
      return "plain";
    }

    @Override
    public Graded grade(Question question, String answer) {
      return new Graded(answer, answer.isEmpty() ? 0 : Double.parseDouble(answer));
    }

    @Override
    public Map<String, Double> metrics(List<GradedUnit> units) {
      return figures;
    }
  }

  private static Question question(String id, String unit, String type, String... images) {
    return new Question(id, unit, List.of(images), "?", List.of(), List.of("a", "b", "c"), type);
  }

  private static final List<Question> ASKED =
      List.of(
          question("12", "12", "open"),
          question("3", "pair", "yes", "l.png", "r.png"),
          question("4", "pair", "yes", "r.png"),
          question("5", "5", "open", "s.png"));

  @Test
  void unitsHaveCreditAndFiguresAreAdded() {
    Score score =
        Score.of(
            new Plain(Map.of("sum", 1250.0)),
            ASKED,
            Map.of("12", "0.5", "3", "1", "4", "", "99", "1"));
    assertThat(score.units())
        .extracting(Score.Unit::id, Score.Unit::image, Score.Unit::credit)
        .containsExactly(
            tuple("5", "s.png", 0.0), tuple("12", "", 0.5), tuple("pair", "l.png", 0.5));
    assertThat(score.metrics())
        .containsExactlyEntriesOf(
            new java.util.TreeMap<>(
                Map.of(
                    "accuracy",
                    1 / 3.0,
                    "accuracy/open",
                    0.25,
                    "accuracy/yes",
                    0.5,
                    "sum",
                    1250.0)));
    assertThat(List.of(score.unparsed(), score.missing(), score.extra())).containsExactly(1, 1, 1);
  }

  @Test
  void impossibleCreditsAndFiguresAreBugs() {
    for (String credit : List.of("1.5", "-0.1", "NaN")) {
      assertThatThrownBy(() -> Score.of(new Plain(Map.of()), ASKED, Map.of("5", credit)))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.BUG))
          .hasMessageContaining("scorer plain gives 5 the credit");
    }
    for (Map<String, Double> figures :
        List.of(Map.of("accuracy", 1.0), Map.of("accuracy/x", 1.0), Map.of("x", Double.NaN))) {
      assertThatThrownBy(() -> Score.of(new Plain(figures), ASKED, Map.of()))
          .hasMessageContaining("allowed: finite numbers, and names other than accuracy");
    }
  }

  @Test
  void unknownFormatIsNamedWithWhatThereIs() {
    assertThat(BenchmarkFormat.all().names())
        .containsExactly("mmbench", "open", "pope", "scienceqa");
    assertThatThrownBy(() -> BenchmarkFormat.all().get("vqa"))
        .hasMessage("benchmark format: 'vqa' is unknown; allowed: mmbench, open, pope, scienceqa");
  }
}
