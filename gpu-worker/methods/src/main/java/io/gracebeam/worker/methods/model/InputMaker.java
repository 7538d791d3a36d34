package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.methods.text.Turn;
import java.nio.file.Path;
import java.util.List;

/**
 * Makes the inputs of a model from conversations and image files, with the tokenizer, chat template
 * and image processor of a model folder. Not safe for concurrent use.
 */
public interface InputMaker extends AutoCloseable {
  /** What stands for an image in the text of a conversation. */
  String PLACEHOLDER = "<image>";

  /**
   * Reads an image.
   *
   * @throws io.gracebeam.proto.error.GraceException data, for a file that is missing or no image
   */
  ModelImage image(Path file);

  /**
   * Encodes a conversation. A text names each image where it stands with {@link #PLACEHOLDER}; a
   * conversation that names none has all its images in front of the first question.
   *
   * @param images in order of their placeholders
   * @param withAnswers whether the last answer is given and all answers are labeled; without, the
   *     sequence stops where the last answer would start
   * @throws io.gracebeam.proto.error.GraceException data, if placeholders and images do not fit
   */
  ModelInput encode(List<Turn> turns, List<ModelImage> images, boolean withAnswers);

  /** Token ids of a plain text, without a start token. */
  long[] ids(String text);

  /** The text of token ids, special tokens left out. */
  String decode(int[] ids);

  @Override
  void close();
}
