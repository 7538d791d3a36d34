package io.gracebeam.worker.methods.signals;

import io.gracebeam.proto.error.GraceException;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes one unit file: header, a table of (offset, length, flag) per example, then the examples.
 * Layout of an example with t tokens: targets i32 [t]; targetLogProb, logSumExp, entropy,
 * nonTargetLogSumExp f32 [t] each; ids [t, k] (u16 or i32); logits; upper triangle of the Gram
 * matrix, row-major.
 */
public final class SignalWriter {
  /** Ending of unit files. */
  public static final String SUFFIX = ".gsig";

  private final SignalHeader shape;
  private final List<byte[]> payloads = new ArrayList<>();
  private final List<Integer> lengths = new ArrayList<>();
  private final List<Boolean> bad = new ArrayList<>();
  private long tokens;
  private long images;

  /** A writer for the shape; count and bytes of the given header are ignored. */
  public SignalWriter(SignalHeader shape) {
    this.shape = shape;
  }

  /** Appends the next example, good or bad. */
  public void add(Signals s) {
    payloads.add(s.error() != null ? s.error().getBytes(StandardCharsets.UTF_8) : encode(s));
    bad.add(s.error() != null);
    lengths.add(s.error() != null ? payloads.getLast().length : s.tokens());
    tokens += s.tokens();
    images += s.error() == null ? 1 : 0;
  }

  /** Supervised tokens so far. */
  public long tokens() {
    return tokens;
  }

  /** Good examples so far. */
  public long images() {
    return images;
  }

  /** Writes the file and returns its header. */
  public SignalHeader write(Path file) {
    long bytes = SignalHeader.BYTES + (long) payloads.size() * SignalHeader.ENTRY_BYTES;
    for (byte[] p : payloads) {
      bytes += p.length;
    }
    SignalHeader header =
        new SignalHeader(
            shape.form(),
            shape.vocab(),
            shape.k(),
            shape.temperature(),
            shape.gram(),
            shape.visualTokens(),
            shape.first(),
            payloads.size(),
            bytes);
    ByteBuffer head =
        ByteBuffer.allocate(SignalHeader.BYTES + payloads.size() * SignalHeader.ENTRY_BYTES)
            .order(ByteOrder.LITTLE_ENDIAN);
    header.write(head);
    long at = head.capacity();
    for (int i = 0; i < payloads.size(); i++) {
      head.putLong(at).putInt(lengths.get(i)).putInt(bad.get(i) ? 1 : 0);
      at += payloads.get(i).length;
    }
    try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file))) {
      out.write(head.array());
      for (byte[] p : payloads) {
        out.write(p);
      }
    } catch (IOException e) {
      throw GraceException.environment("cannot write %s: %s", file, e.getMessage()).withCause(e);
    }
    return header;
  }

  private byte[] encode(Signals s) {
    int t = s.tokens();
    ByteBuffer b =
        ByteBuffer.allocate(Math.toIntExact(t * shape.bytesPerToken() + shape.bytesPerImage()))
            .order(ByteOrder.LITTLE_ENDIAN);
    for (int v : s.targets()) {
      b.putInt(v);
    }
    floats(b, s.targetLogProb());
    floats(b, s.logSumExp());
    floats(b, s.entropy());
    floats(b, s.nonTargetLogSumExp());
    if (shape.form() == SignalHeader.Form.TOP_K) {
      for (int id : s.ids()) {
        if (shape.idBytes() == 2) {
          b.putShort((short) id);
        } else {
          b.putInt(id);
        }
      }
    }
    if (shape.form() == SignalHeader.Form.FULL_F16) {
      for (float v : s.logits()) {
        b.putShort(Float.floatToFloat16(v));
      }
    } else {
      floats(b, s.logits());
    }
    int n = shape.visualTokens();
    for (int i = 0; i < n && shape.gram() != SignalHeader.Gram.NONE; i++) {
      for (int j = i; j < n; j++) {
        float v = s.gram()[i * n + j];
        if (shape.gram() == SignalHeader.Gram.F32) {
          b.putFloat(v);
        } else {
          int bits = Float.floatToIntBits(v);
          b.putShort((short) ((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16));
        }
      }
    }
    if (b.hasRemaining()) {
      throw GraceException.bug("signals of %d tokens do not fill their %d bytes", t, b.capacity());
    }
    return b.array();
  }

  private static void floats(ByteBuffer b, float[] values) {
    for (float v : values) {
      b.putFloat(v);
    }
  }
}
