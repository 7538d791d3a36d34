package io.gracebeam.worker.methods.model;

/** Parts of a vision-language model. Linear weights of one part share bits and group size. */
public enum Part {
  /** The decoder's blocks and its last norm. */
  DECODER,

  /** The output head, where it is not the embedding table. */
  HEAD,

  /** The vision tower. */
  VISION,

  /** What stands between vision tower and decoder. */
  PROJECTOR,

  /** The embedding table. */
  EMBEDDING
}
