package io.gracebeam.worker.methods.signals;

import java.util.List;

/**
 * What the teacher says about one example. Arrays are per supervised token, in order.
 *
 * @param error why the example has no signals; null if it has
 * @param targets supervised token ids
 * @param statistics of the teacher's distributions
 * @param ids top-k ids [tokens, k], by falling logit; null for full logits
 * @param logits logits [tokens, k], or [tokens, vocab] for full logits
 * @param visualTokens of each image of the example
 * @param grams centered Gram matrix [n, n] of each image's n visual tokens; empty if not kept
 */
@SuppressWarnings("ArrayRecordComponent") // a view of file contents, compared by nobody
public record Signals(
    String error,
    int[] targets,
    Statistics statistics,
    int[] ids,
    float[] logits,
    int[] visualTokens,
    List<float[]> grams) {

  /**
   * Numbers of the teacher's distribution of each token.
   *
   * @param targetLogProb log-probability of the target at temperature 1
   * @param logSumExp of the logits at temperature 1; the target's logit is targetLogProb +
   *     logSumExp
   * @param entropy nats, at temperature 1
   * @param nonTargetLogSumExp logsumexp of logits / T over all ids but the target
   */
  @SuppressWarnings("ArrayRecordComponent") // a view of file contents, compared by nobody
  public record Statistics(
      float[] targetLogProb, float[] logSumExp, float[] entropy, float[] nonTargetLogSumExp) {}

  /** An example without signals. */
  public static Signals bad(String error) {
    return new Signals(error, null, null, null, null, new int[0], List.of());
  }

  /** Number of supervised tokens; 0 for a bad example. */
  public int tokens() {
    return targets == null ? 0 : targets.length;
  }
}
