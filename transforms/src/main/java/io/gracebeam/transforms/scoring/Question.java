package io.gracebeam.transforms.scoring;

import java.util.List;
import java.util.Optional;

/**
 * One question of a benchmark, ready for a model, with all that its scorer needs to know.
 *
 * @param id unique within the benchmark
 * @param unit id of the scored unit: its own id, or one that questions share which are scored
 *     together
 * @param images paths relative to the benchmark's images, in the order of the prompt; empty for a
 *     question without image
 * @param prompt what the user says, without image placeholders
 * @param choices texts of options A, B, ...; empty for an open or yes/no question
 * @param references right answers as the scorer compares them, at least one: a letter, yes/no, or
 *     texts
 * @param type question type, under which the score is broken down
 */
public record Question(
    String id,
    String unit,
    List<String> images,
    String prompt,
    List<String> choices,
    List<String> references,
    String type) {
  /** Copies the lists. */
  public Question {
    images = List.copyOf(images);
    choices = List.copyOf(choices);
    references = List.copyOf(references);
  }

  /** A question that is scored by itself, with at most one image and one right answer. */
  public static Question single(
      String id,
      Optional<String> image,
      String prompt,
      List<String> choices,
      String reference,
      String type) {
    return new Question(id, id, image.stream().toList(), prompt, choices, List.of(reference), type);
  }

  /** The first right answer: the only one in most benchmarks. */
  public String answer() {
    return references.get(0);
  }
}
