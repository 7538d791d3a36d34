package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.methods.text.Turn;
import java.nio.file.Path;
import java.util.List;

/**
 * One question.
 *
 * @param images files, in order of their placeholders; none for a question about text alone
 * @param turns earlier turns as they are, then the question, whose answer is not looked at
 */
public record Prompt(List<Path> images, List<Turn> turns) {
  /** Takes copies. */
  public Prompt {
    images = List.copyOf(images);
    turns = List.copyOf(turns);
  }
}
