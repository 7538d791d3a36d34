package io.gracebeam.worker.methods.model;

import java.util.Set;

/**
 * Token ids with a meaning of their own.
 *
 * @param image the placeholder of a visual token
 * @param bos starts a sequence; -1 for none
 * @param ends each of them ends an answer
 * @param pad fills up sequences; -1 for none
 */
public record SpecialTokens(int image, int bos, Set<Integer> ends, int pad) {
  /** What to pad with: a token of the vocabulary that is no image. */
  public int padding(int vocab) {
    return pad >= 0 && pad < vocab && pad != image ? pad : 0;
  }
}
