package io.gracebeam.worker.methods.signals;

import io.gracebeam.proto.error.GraceException;
import java.nio.ByteBuffer;

/**
 * Fixed-size start of a unit file (64 bytes, little-endian). Version 1 is written where each
 * example has one image and all images have equally many visual tokens; else version 2, in which
 * each example tells its own images.
 *
 * @param form what the signals hold
 * @param visualTokens n of all [n, n] Gram matrices; {@link #OWN} where examples tell their own
 * @param first index of the first example in the dataset
 * @param count examples in this unit
 * @param bytes size of the whole file
 */
public record SignalHeader(SignalForm form, int visualTokens, long first, int count, long bytes) {
  /** In the place of a number of visual tokens: each example tells its own. */
  public static final int OWN = -1;

  static final int BYTES = 64;
  static final int ENTRY_BYTES = 16;
  private static final int FIXED = 1;
  private static final int OWN_SIZES = 2;
  private static final int MAGIC = 0x47495347;
  private static final int MAX_VOCAB = 1 << 22;
  static final int MAX_VISUAL = 1 << 14;

  /** Whether each example tells the visual tokens of its images. */
  boolean ownSizes() {
    return visualTokens == OWN;
  }

  void write(ByteBuffer out) {
    out.putInt(MAGIC)
        .putInt(ownSizes() ? OWN_SIZES : FIXED)
        .putInt(form.rows().ordinal())
        .putInt(form.vocab())
        .putInt(form.k())
        .putFloat(form.temperature())
        .putInt(form.gram().ordinal())
        .putInt(ownSizes() ? 0 : visualTokens)
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
    if (version != FIXED && version != OWN_SIZES) {
      throw GraceException.data(
          "%s: version %d; allowed are %d and %d", file, version, FIXED, OWN_SIZES);
    }
    int rows = in.getInt();
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
    if (rows < 0
        || rows >= SignalForm.Rows.values().length
        || gram < 0
        || gram >= SignalForm.Gram.values().length
        || vocab < 2
        || vocab > MAX_VOCAB
        || k < 0
        || k > vocab
        || (k == 0) == (rows == SignalForm.Rows.TOP_K.ordinal())
        || !(temperature > 0)
        || visual < 0
        || visual > MAX_VISUAL
        || (version == OWN_SIZES && visual != 0)
        || first < 0
        || count < 0
        || bytes != fileBytes
        || BYTES + (long) count * ENTRY_BYTES > fileBytes) {
      throw GraceException.data("%s: header does not fit the file (%d bytes)", file, fileBytes);
    }
    SignalForm form =
        new SignalForm(
            SignalForm.Rows.values()[rows], vocab, k, temperature, SignalForm.Gram.values()[gram]);
    return new SignalHeader(form, version == OWN_SIZES ? OWN : visual, first, count, bytes);
  }
}
