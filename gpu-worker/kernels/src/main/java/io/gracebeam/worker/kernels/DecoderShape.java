package io.gracebeam.worker.kernels;

/**
 * Sizes of a decoder of LLaMA's kind.
 *
 * @param width of a state
 * @param heads of queries
 * @param kvHeads of keys and values, a divisor of heads
 * @param headDim width of a head, even
 * @param mlp width of the gated layer
 * @param eps of the norms
 */
public record DecoderShape(
    int layers, int width, int heads, int kvHeads, int headDim, int mlp, int vocab, float eps) {
  private static final String WHERE = "DecoderShape";

  /** Validates sizes. */
  public DecoderShape {
    Checks.positive(WHERE, "layers", layers);
    Checks.positive(WHERE, "width", width);
    Checks.positive(WHERE, "heads", heads);
    Checks.positive(WHERE, "kvHeads", kvHeads);
    Checks.positive(WHERE, "headDim", headDim);
    Checks.positive(WHERE, "mlp", mlp);
    Checks.positive(WHERE, "vocab", vocab);
    if (heads % kvHeads != 0) {
      throw Checks.error(
          WHERE, "kvHeads is %d, allowed are divisors of heads = %d", kvHeads, heads);
    }
    if (headDim % 2 != 0) {
      throw Checks.error(WHERE, "headDim is %d, allowed are even numbers", headDim);
    }
    if (!(eps > 0) || !Float.isFinite(eps)) {
      throw Checks.error(WHERE, "eps is %s, allowed are finite numbers above 0", eps);
    }
    Checks.product(WHERE, 2, mlp);
    Checks.product(WHERE, qkvRows(heads, kvHeads), headDim);
  }

  private static int qkvRows(int heads, int kvHeads) {
    return Math.addExact(heads, Math.multiplyExact(2, kvHeads));
  }

  /** Rows of queries, keys and values together. */
  public int qkv() {
    return qkvRows(heads, kvHeads) * headDim;
  }
}
