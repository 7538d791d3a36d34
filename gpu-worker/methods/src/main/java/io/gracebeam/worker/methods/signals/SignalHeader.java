package io.gracebeam.worker.methods.signals;

import io.gracebeam.proto.error.GraceException;
import java.nio.ByteBuffer;

/**
 * Fixed-size start of a unit file (64 bytes, little-endian).
 *
 * @param form how teacher distributions are stored
 * @param vocab size of the logit axis
 * @param k entries per token of the top-k form; 0 for full logits
 * @param temperature temperature of the stored tempered quantities
 * @param gram how centered Gram matrices are stored
 * @param visualTokens n of the [n, n] Gram matrices
 * @param first index of the first example in the dataset
 * @param count examples in this unit
 * @param bytes size of the whole file
 */
public record SignalHeader(
    Form form,
    int vocab,
    int k,
    float temperature,
    Gram gram,
    int visualTokens,
    long first,
    int count,
    long bytes) {
  /** How teacher distributions are stored. */
  public enum Form {
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

  static final int BYTES = 64;
  static final int ENTRY_BYTES = 16;
  static final int VERSION = 1;
  private static final int MAGIC = 0x47495347;
  private static final int MAX_VOCAB = 1 << 22;
  private static final int MAX_VISUAL = 1 << 14;

  /** Bytes of one token id. */
  int idBytes() {
    return vocab <= 1 << 16 ? 2 : 4;
  }

  /** Bytes that one supervised token takes. */
  public long bytesPerToken() {
    long head = 5L * 4;
    return head
        + switch (form) {
          case FULL_F32 -> 4L * vocab;
          case FULL_F16 -> 2L * vocab;
          case TOP_K -> (long) k * (4 + idBytes());
        };
  }

  /** Bytes that one image takes. */
  public long bytesPerImage() {
    long triangle = (long) visualTokens * (visualTokens + 1) / 2;
    return switch (gram) {
      case NONE -> 0;
      case BF16 -> 2 * triangle;
      case F32 -> 4 * triangle;
    };
  }

  void write(ByteBuffer out) {
    out.putInt(MAGIC)
        .putInt(VERSION)
        .putInt(form.ordinal())
        .putInt(vocab)
        .putInt(k)
        .putFloat(temperature)
        .putInt(gram.ordinal())
        .putInt(visualTokens)
        .putLong(first)
        .putInt(count)
        .putInt(0)
        .putLong(bytes)
        .putLong(0);
  }

  static boolean matches(ByteBuffer in) {
    return in.remaining() >= BYTES && in.getInt(in.position()) == MAGIC;
  }

  static SignalHeader read(ByteBuffer in, long fileBytes, String file) {
    if (!matches(in)) {
      throw GraceException.data("%s: not a teacher-signal file", file);
    }
    in.getInt();
    int version = in.getInt();
    if (version != VERSION) {
      throw GraceException.data("%s: version %d; allowed is %d", file, version, VERSION);
    }
    int form = in.getInt();
    int vocab = in.getInt();
    int k = in.getInt();
    float temperature = in.getFloat();
    int gram = in.getInt();
    int visual = in.getInt();
    long first = in.getLong();
    int count = in.getInt();
    in.getInt();
    long bytes = in.getLong();
    in.getLong();
    if (form < 0
        || form >= Form.values().length
        || gram < 0
        || gram >= Gram.values().length
        || vocab < 2
        || vocab > MAX_VOCAB
        || k < 0
        || k > vocab
        || (k == 0) == (form == Form.TOP_K.ordinal())
        || !(temperature > 0)
        || visual < 0
        || visual > MAX_VISUAL
        || first < 0
        || count < 0
        || bytes != fileBytes
        || BYTES + (long) count * ENTRY_BYTES > fileBytes) {
      throw GraceException.data("%s: header does not fit the file (%d bytes)", file, fileBytes);
    }
    return new SignalHeader(
        Form.values()[form],
        vocab,
        k,
        temperature,
        Gram.values()[gram],
        visual,
        first,
        count,
        bytes);
  }
}
