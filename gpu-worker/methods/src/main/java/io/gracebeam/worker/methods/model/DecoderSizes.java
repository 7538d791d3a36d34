package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.kernels.DecoderShape;

/**
 * Sizes of a decoder.
 *
 * @param vocab tokens of the vocabulary, the head's rows
 * @param width of the hidden states
 * @param headDim width of each of {@code heads} query heads and {@code kvHeads} key and value heads
 * @param mlp width between the products of an MLP
 * @param maxPositions longest sequence in tokens
 * @param eps of the norms
 * @param ropeTheta base of the rotary frequencies
 */
public record DecoderSizes(
    int vocab,
    int width,
    int layers,
    int heads,
    int kvHeads,
    int headDim,
    int mlp,
    int maxPositions,
    double eps,
    double ropeTheta) {
  /** The sizes that the kernels in C need. */
  public DecoderShape shape() {
    return new DecoderShape(layers, width, heads, kvHeads, headDim, mlp, vocab, (float) eps);
  }
}
