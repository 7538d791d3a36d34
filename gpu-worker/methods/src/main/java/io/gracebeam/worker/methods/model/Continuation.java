package io.gracebeam.worker.methods.model;

/**
 * Sequences that grow token by token, all by one at a time. Logits that a call returned are gone
 * with the next call.
 */
interface Continuation extends AutoCloseable {
  /** In the place of a token: the sequence is finished, its logits are not wanted. */
  int NONE = -1;

  /**
   * Runs the prompts.
   *
   * @param pixels [U, 3, H, W] flat
   * @param imageOf which of the U images each prompt has
   * @param ids token ids of each prompt, placeholders repeated
   * @return logits of the tokens that follow, [prompts, vocab]
   */
  float[] start(float[] pixels, int[] imageOf, long[][] ids);

  /**
   * Appends a token to each sequence.
   *
   * @return logits of the tokens that follow, [prompts, vocab]; those of finished ones mean nothing
   */
  float[] next(int[] tokens);

  @Override
  void close();
}
