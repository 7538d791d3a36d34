package io.gracebeam.transforms.scoring;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The result of scoring one benchmark.
 *
 * @param benchmark format name, for example {@code pope}
 * @param scorer names the extraction and scoring rule
 * @param answers one per scored unit (a question, or a circular group), sorted by id
 * @param metrics fractions in [0, 1] by name; {@code accuracy} always, {@code accuracy/TYPE} by
 *     type
 * @param total number of scored units
 * @param unparsed answers from which nothing could be extracted; they count as wrong
 * @param missing questions without an answer; they count as wrong
 * @param extra answers to questions that the benchmark does not have; they are left out
 */
public record Score(
    String benchmark,
    String scorer,
    List<Answer> answers,
    SortedMap<String, Double> metrics,
    int total,
    int unparsed,
    int missing,
    int extra) {

  /**
   * One scored unit.
   *
   * @param id question (or group) id
   * @param type question type
   * @param image image that it asks about, empty when none; questions on one image are not
   *     independent
   * @param parsed what was extracted, empty when nothing
   * @param correct 1 or 0
   */
  public record Answer(String id, String type, String image, String parsed, int correct) {}

  /** Copies the collections. */
  public Score {
    answers = List.copyOf(answers);
    metrics = Collections.unmodifiableSortedMap(new TreeMap<>(metrics));
  }

  /** The fraction of right answers. */
  public double accuracy() {
    return metrics.get("accuracy");
  }

  /** Sorts the answers by id and fills in {@code accuracy} over all and by type. */
  static Score of(
      String benchmark,
      String scorer,
      List<Answer> answers,
      Map<String, Double> more,
      int unparsed,
      int missing,
      int extra) {
    List<Answer> sorted = new ArrayList<>(answers);
    sorted.sort(java.util.Comparator.comparing(Answer::id, Score::compareIds));
    TreeMap<String, Double> metrics = new TreeMap<>(more);
    TreeMap<String, int[]> byType = new TreeMap<>();
    int correct = 0;
    for (Answer a : sorted) {
      correct += a.correct();
      int[] counts = byType.computeIfAbsent(a.type(), t -> new int[2]);
      counts[0] += a.correct();
      counts[1]++;
    }
    metrics.put("accuracy", ratio(correct, sorted.size()));
    if (byType.size() > 1) {
      byType.forEach((type, n) -> metrics.put("accuracy/" + type, ratio(n[0], n[1])));
    }
    return new Score(benchmark, scorer, sorted, metrics, sorted.size(), unparsed, missing, extra);
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
