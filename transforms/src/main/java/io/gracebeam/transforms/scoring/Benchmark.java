package io.gracebeam.transforms.scoring;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** A benchmark that was read from its official files, with its official scoring. */
public interface Benchmark {
  /** Format name: {@code pope}, {@code scienceqa}, {@code mmbench} or {@code open}. */
  String format();

  /** The questions in the order of the file. */
  List<Question> questions();

  /**
   * Id of the scored answer that a question belongs to: its own, where questions are not scored
   * together.
   */
  default String unit(Question question) {
    return question.id();
  }

  /**
   * Scores answers.
   *
   * @param answers generated text by question id; the order is irrelevant. A question without an
   *     entry counts as wrong.
   */
  Score score(Map<String, String> answers);

  /** Folder under which the questions' images are; a benchmark that carries them writes them. */
  Path imageFolder();
}
