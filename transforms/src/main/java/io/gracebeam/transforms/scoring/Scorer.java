package io.gracebeam.transforms.scoring;

import java.util.List;
import java.util.Map;

/**
 * The rule by which a benchmark scores answers: a credit for each scored unit, and figures made of
 * the units. Without state; reads nothing but its arguments.
 */
public interface Scorer {

  /**
   * What became of one answer.
   *
   * @param parsed what was extracted; empty when nothing could be
   * @param credit 0 (wrong) to 1 (right)
   */
  record Graded(String parsed, double credit) {
    /** A question without an answer. */
    public static final Graded MISSING = new Graded("", 0);

    /** Right or wrong. */
    public static Graded of(String parsed, boolean right) {
      return new Graded(parsed, right ? 1 : 0);
    }
  }

  /**
   * A scored unit: one question, or several that are scored together.
   *
   * @param id the questions' {@link Question#unit}
   * @param questions in the order of the file
   * @param graded what became of each question's answer, in the same order
   * @param credit of the unit, 0 to 1
   */
  record GradedUnit(String id, List<Question> questions, List<Graded> graded, double credit) {
    /** Copies the lists. */
    public GradedUnit {
      questions = List.copyOf(questions);
      graded = List.copyOf(graded);
    }
  }

  /** Names the extraction and scoring rule, for instance {@code pope-official}. */
  String name();

  /** Reads one answer and compares it with the question's references. */
  Graded grade(Question question, String answer);

  /**
   * Credit of a unit; the mean of its questions' credits where a scorer does not say otherwise.
   *
   * @param questions of one unit, in the order of the file
   * @param graded what became of their answers, in the same order
   */
  default double credit(List<Question> questions, List<Graded> graded) {
    return graded.stream().mapToDouble(Graded::credit).sum() / graded.size();
  }

  /**
   * Figures beside {@code accuracy} (the mean credit) and {@code accuracy/TYPE}, by names of their
   * own. They may be sums and need not lie in [0, 1].
   *
   * @param units all units, sorted by id
   */
  default Map<String, Double> metrics(List<GradedUnit> units) {
    return Map.of();
  }
}
