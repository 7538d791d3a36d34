package io.gracebeam.worker.kernels;

/** A weight [rows, cols] in a form that a {@link PackedDecoder} takes. */
public sealed interface Matrix permits PackedWeight, Bf16Weight, FloatWeight, RandomWeight {
  /** Output features. */
  int rows();

  /** Input features. */
  int cols();
}
