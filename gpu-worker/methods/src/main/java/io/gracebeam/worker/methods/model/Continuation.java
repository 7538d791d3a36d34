package io.gracebeam.worker.methods.model;

/**
 * Sequences that grow token by token, all by one at a time. Logits that a call returned are
 * overwritten by the next call.
 */
interface Continuation extends AutoCloseable {
  /** In the place of a token: the sequence is finished, its logits are not wanted. */
  int NONE = -1;

  /**
   * Runs the prompts.
   *
   * @return logits of the tokens that follow, [prompts, vocab]
   */
  float[] start(Batch prompts);

  /**
   * Appends a token to each sequence.
   *
   * @return logits of the tokens that follow, [prompts, vocab]; those of finished ones mean nothing
   */
  float[] next(int[] tokens);

  @Override
  void close();
}
