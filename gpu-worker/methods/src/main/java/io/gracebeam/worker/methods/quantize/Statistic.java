package io.gracebeam.worker.methods.quantize;

/** What a quantizer may need beside the weights. */
public enum Statistic {
  /** Log-scales of the training state (LSQ). */
  TRAINED_SCALES("trained log-scales"),

  /** Mean |x| of each input channel of a linear, over all tokens (AWQ). */
  MEAN_MAGNITUDES("mean magnitudes of inputs"),

  /** Sums of x x^T over all tokens (GPTQ). */
  SECOND_MOMENTS("second moments of inputs"),

  /** Sums of c x x^T with {@link Quantizer#weight} c for each token (MBQ, VEQ). */
  WEIGHTED_SECOND_MOMENTS("weighted second moments of inputs");

  private final String words;

  Statistic(String words) {
    this.words = words;
  }

  /** The statistic in words, for messages. */
  public String words() {
    return words;
  }
}
