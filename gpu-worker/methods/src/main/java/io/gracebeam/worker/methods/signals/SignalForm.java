package io.gracebeam.worker.methods.signals;

/**
 * What teacher signals hold.
 *
 * @param rows how teacher distributions are stored
 * @param vocab size of the logit axis
 * @param k entries per token of the top-k form; 0 for full logits
 * @param temperature temperature of the stored tempered quantities
 * @param gram how centered Gram matrices are stored
 */
public record SignalForm(Rows rows, int vocab, int k, float temperature, Gram gram) {
  /** How teacher distributions are stored. */
  public enum Rows {
    /** All logits, float32. */
    FULL_F32,
    /** All logits, IEEE half precision. */
    FULL_F16,
    /** The k largest logits (float32) with their ids, and the mass of the rest. */
    TOP_K
  }

  /** How centered Gram matrices are stored. */
  public enum Gram {
    /** Not at all. */
    NONE,
    /** Upper triangle, bfloat16. */
    BF16,
    /** Upper triangle, float32. */
    F32
  }

  /** Bytes of one token id. */
  int idBytes() {
    return vocab <= 1 << 16 ? 2 : 4;
  }

  /** Bytes that one supervised token takes. */
  public long bytesPerToken() {
    long head = 5L * 4;
    return head
        + switch (rows) {
          case FULL_F32 -> 4L * vocab;
          case FULL_F16 -> 2L * vocab;
          case TOP_K -> (long) k * (4 + idBytes());
        };
  }

  /** Bytes that the Gram matrix of an image takes. */
  public long gramBytes(int visualTokens) {
    long triangle = (long) visualTokens * (visualTokens + 1) / 2;
    return switch (gram) {
      case NONE -> 0;
      case BF16 -> 2 * triangle;
      case F32 -> 4 * triangle;
    };
  }
}
