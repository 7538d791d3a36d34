package io.gracebeam.transforms.scoring;

import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A benchmark that was read from its files.
 *
 * @param questions in the order of the file
 * @param imageFolder folder to which the questions' images are relative; empty where no question
 *     has one
 */
public record Benchmark(List<Question> questions, Optional<Path> imageFolder) {
  /** Copies the questions. */
  public Benchmark {
    questions = List.copyOf(questions);
  }

  /**
   * The questions of the first scored units, in the order of the file.
   *
   * @param limit most questions; 0 for all. Questions that are scored together stay together, so it
   *     may be fewer; those of the first unit are always there
   */
  public List<Question> first(int limit) {
    Map<String, Integer> sizes = new LinkedHashMap<>();
    questions.forEach(question -> sizes.merge(question.unit(), 1, Integer::sum));
    if (limit <= 0) {
      return questions;
    }
    Set<String> units = new HashSet<>();
    int count = 0;
    for (Map.Entry<String, Integer> unit : sizes.entrySet()) {
      count += unit.getValue();
      if (count > limit && !units.isEmpty()) {
        break;
      }
      units.add(unit.getKey());
    }
    return questions.stream().filter(question -> units.contains(question.unit())).toList();
  }
}
