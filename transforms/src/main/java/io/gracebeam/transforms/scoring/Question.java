package io.gracebeam.transforms.scoring;

import java.util.List;
import java.util.Optional;

/**
 * One question of a benchmark, ready for a model.
 *
 * @param id unique within the benchmark
 * @param image path relative to the benchmark's image folder; empty for a question without image
 * @param prompt what the user says, without the image placeholder
 * @param choices texts of options A, B, ...; empty for an open or yes/no question
 * @param answer the right answer as its scorer compares it: a letter, yes/no, or text
 * @param type question type, under which the score is broken down
 */
public record Question(
    String id,
    Optional<String> image,
    String prompt,
    List<String> choices,
    String answer,
    String type) {
  /** Copies the choices. */
  public Question {
    choices = List.copyOf(choices);
  }
}
