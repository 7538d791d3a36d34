package io.gracebeam.transforms.scoring;

import io.gracebeam.proto.error.GraceException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The result of scoring the answers of one model to one benchmark.
 *
 * @param scorer names the extraction and scoring rule
 * @param units one per scored unit (a question, or several that are scored together), sorted by id
 * @param metrics figures by name: {@code accuracy} (mean credit, in [0, 1]) always, {@code
 *     accuracy/TYPE} where there are several types, and what the scorer adds
 * @param unparsed answers from which nothing could be extracted
 * @param missing questions without an answer; they have no credit
 * @param extra answers to questions that were not asked; they are left out
 */
public record Score(
    String scorer,
    List<Unit> units,
    SortedMap<String, Double> metrics,
    int unparsed,
    int missing,
    int extra) {
  private static final String ACCURACY = "accuracy";

  /**
   * One scored unit.
   *
   * @param id of the question, or of those that are scored together
   * @param type question type
   * @param image first image that it asks about, empty when none; questions on one image are not
   *     independent
   * @param credit 0 to 1
   */
  public record Unit(String id, String type, String image, double credit) {}

  /** Copies the collections. */
  public Score {
    units = List.copyOf(units);
    metrics = Collections.unmodifiableSortedMap(new TreeMap<>(metrics));
  }

  /** Mean credit. */
  public double accuracy() {
    return metrics.get(ACCURACY);
  }

  /**
   * Scores answers.
   *
   * @param asked the questions that were asked; those of one unit are all among them
   * @param answers generated text by question id
   * @throws GraceException (bug) if the scorer gives a credit outside of [0, 1], or a figure that
   *     is not finite or has a name of the framework's own
   */
  public static Score of(Scorer scorer, List<Question> asked, Map<String, String> answers) {
    Map<String, List<Question>> together = new LinkedHashMap<>();
    asked.forEach(
        question ->
            together.computeIfAbsent(question.unit(), u -> new ArrayList<>()).add(question));
    List<Scorer.GradedUnit> graded = new ArrayList<>();
    together.forEach((id, questions) -> graded.add(unit(scorer, id, questions, answers)));
    graded.sort(Comparator.comparing(Scorer.GradedUnit::id, Score::compareIds));
    int missing = 0;
    int unparsed = 0;
    for (Scorer.GradedUnit unit : graded) {
      for (int i = 0; i < unit.questions().size(); i++) {
        boolean answered = answers.containsKey(unit.questions().get(i).id());
        missing += answered ? 0 : 1;
        unparsed += answered && unit.graded().get(i).parsed().isEmpty() ? 1 : 0;
      }
    }
    List<Unit> units = graded.stream().map(Score::unit).toList();
    int extra = answers.size() - (asked.size() - missing);
    return new Score(
        scorer.name(), units, metrics(scorer, graded, units), unparsed, missing, extra);
  }

  private static Scorer.GradedUnit unit(
      Scorer scorer, String id, List<Question> questions, Map<String, String> answers) {
    List<Scorer.Graded> graded =
        questions.stream()
            .map(
                question -> {
                  String answer = answers.get(question.id());
                  return answer == null
                      ? Scorer.Graded.MISSING
                      : checked(scorer, question, scorer.grade(question, answer));
                })
            .toList();
    double credit = scorer.credit(questions, graded);
    return new Scorer.GradedUnit(id, questions, graded, credit(scorer, id, credit));
  }

  private static Scorer.Graded checked(Scorer scorer, Question question, Scorer.Graded graded) {
    credit(scorer, question.id(), graded.credit());
    return graded;
  }

  private static double credit(Scorer scorer, String id, double credit) {
    if (!(credit >= 0 && credit <= 1)) {
      throw GraceException.bug(
          "scorer %s gives %s the credit %s; allowed: 0 to 1", scorer.name(), id, credit);
    }
    return credit;
  }

  private static Unit unit(Scorer.GradedUnit unit) {
    Question first = unit.questions().get(0);
    String image = first.images().isEmpty() ? "" : first.images().get(0);
    return new Unit(unit.id(), first.type(), image, unit.credit());
  }

  private static SortedMap<String, Double> metrics(
      Scorer scorer, List<Scorer.GradedUnit> graded, List<Unit> units) {
    TreeMap<String, Double> metrics = new TreeMap<>();
    scorer
        .metrics(graded)
        .forEach(
            (name, value) -> {
              if (!Double.isFinite(value)
                  || name.equals(ACCURACY)
                  || name.startsWith(ACCURACY + "/")) {
                throw GraceException.bug(
                    "scorer %s gives %s = %s; allowed: finite numbers, and names other than %s",
                    scorer.name(), name, value, ACCURACY);
              }
              metrics.put(name, value);
            });
    TreeMap<String, double[]> byType = new TreeMap<>();
    double credit = 0;
    for (Unit unit : units) {
      credit += unit.credit();
      double[] sums = byType.computeIfAbsent(unit.type(), t -> new double[2]);
      sums[0] += unit.credit();
      sums[1]++;
    }
    metrics.put(ACCURACY, ratio(credit, units.size()));
    if (byType.size() > 1) {
      byType.forEach((type, sums) -> metrics.put(ACCURACY + "/" + type, ratio(sums[0], sums[1])));
    }
    return metrics;
  }

  /** Zero where the denominator is zero. */
  static double ratio(double numerator, double denominator) {
    return denominator == 0 ? 0 : numerator / denominator;
  }

  /** Shorter ids first, then by characters: whole numbers sort as numbers. */
  static int compareIds(String a, String b) {
    return a.length() != b.length() ? Integer.compare(a.length(), b.length()) : a.compareTo(b);
  }
}
