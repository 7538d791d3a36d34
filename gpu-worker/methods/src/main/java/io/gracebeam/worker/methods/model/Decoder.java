package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import java.util.Optional;

/** The blocks of a decoder, its last norm and its head. */
public interface Decoder {
  /**
   * Where the tokens of a pass stand.
   *
   * @param cos cosines [B or 1, 1, S, 2 f] of {@link #rope}'s f angles, both halves equal
   * @param sin sines, of the same shape
   * @param mask additive, [B or 1, 1, S, keys]
   */
  record Sequence(NDArray cos, NDArray sin, NDArray mask) {}

  /** Rotary frequencies. */
  Rope rope();

  /**
   * One block.
   *
   * @param x [B, S, width]
   * @param cache keys and values of earlier positions; new ones are appended; null for none
   * @return a new array of the shape of x
   */
  NDArray block(NDArray x, int layer, Sequence sequence, KvCache cache);

  /** Last norm of rows [R, width]. */
  NDArray norm(NDArray rows);

  /** Last norm and head over rows [R, width]: logits [R, vocab] in float32. */
  NDArray logits(NDArray rows);

  /** A block for the native kernels of training; empty where they cannot run it. */
  default Optional<NativeBlock> nativeBlock(int layer) {
    return Optional.empty();
  }
}
