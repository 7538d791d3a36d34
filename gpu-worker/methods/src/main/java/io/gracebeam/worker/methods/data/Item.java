package io.gracebeam.worker.methods.data;

import io.gracebeam.worker.methods.model.ModelInput;

/**
 * An example as a model takes it.
 *
 * @param input tokens and images
 * @param rows positions whose logits predict a supervised token (the position before it)
 * @param targets the supervised tokens
 * @param answers index of the exchange that each supervised token belongs to
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record Item(String id, ModelInput input, int[] rows, int[] targets, int[] answers) {
  /** Number of tokens. */
  public int length() {
    return input.ids().length;
  }

  /** Visual tokens of each image. */
  public int[] visualTokens() {
    return input.images().stream().mapToInt(p -> p.image().tokens()).toArray();
  }
}
