package io.gracebeam.worker.methods.signals;

/**
 * What the teacher says about one example. Arrays are per supervised token, in order.
 *
 * @param error why the example has no signals; null if it has
 * @param targets supervised token ids
 * @param targetLogProb log-probability of the target at temperature 1
 * @param logSumExp of the logits at temperature 1; the target's logit is targetLogProb + logSumExp
 * @param entropy nats, at temperature 1
 * @param nonTargetLogSumExp logsumexp of logits / T over all ids but the target
 * @param ids top-k ids [tokens, k], by falling logit; null for full logits
 * @param logits logits [tokens, k], or [tokens, vocab] for full logits
 * @param gram centered Gram matrix [n, n] of the visual tokens; null if not kept
 */
@SuppressWarnings("ArrayRecordComponent") // a view of file contents, compared by nobody
public record Signals(
    String error,
    int[] targets,
    float[] targetLogProb,
    float[] logSumExp,
    float[] entropy,
    float[] nonTargetLogSumExp,
    int[] ids,
    float[] logits,
    float[] gram) {
  /** An example without signals. */
  public static Signals bad(String error) {
    return new Signals(error, null, null, null, null, null, null, null, null);
  }

  /** Number of supervised tokens; 0 for a bad example. */
  public int tokens() {
    return targets == null ? 0 : targets.length;
  }
}
