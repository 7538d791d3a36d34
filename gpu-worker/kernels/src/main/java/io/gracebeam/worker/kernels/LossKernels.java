package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * Losses with their gradients, and what is kept of a teacher's logits, on checked arguments. Sums
 * of different implementations may differ in their last bits.
 */
public interface LossKernels {
  /**
   * Cross-entropy and distillation, see {@link TokenLosses#apply}.
   *
   * @throws IllegalArgumentException if a logit is not finite, the teacher's included
   */
  TokenLosses.Result tokenLosses(TokenLosses.Batch batch, float[] d);

  /**
   * Cross-entropy and distillation in place, see {@link TokenLosses#applyInPlace}.
   *
   * @throws IllegalArgumentException if a logit of the teacher is not finite
   */
  TokenLosses.Result tokenLosses(TokenLosses.Rows rows, MemorySegment logits);

  /**
   * Statistics of all rows, see {@link TeacherStatistics#ofRows}.
   *
   * @throws IllegalArgumentException if a logit is not finite
   */
  TeacherStatistics[] statistics(
      float[] logits, int rows, int vocab, int[] targets, double temperature);

  /** The k largest logits of each row; all implementations give the same. */
  TopK.Selection topK(float[] logits, int rows, int vocab, int k);

  /** Centered similarity matrix [n, n] of states v [n, d], see {@link Rcka#gram}. */
  float[] gram(float[] v, int n, int d);

  /**
   * Relational loss, see {@link Rcka#apply(float[], float[], int, int, long)}.
   *
   * @param teacher centered similarity matrix [n, n]
   * @param v states of the student [n, d]
   * @param bytes bound of the memory beside arguments and result
   */
  Rcka.Result rcka(float[] teacher, float[] v, int n, int d, long bytes);
}
