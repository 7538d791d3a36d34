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
import java.util.Arrays;
import java.util.List;

/**
 * Writes one unit file: header, a table of (offset, length, flag) per example, then the examples.
 * Layout of an example with t tokens: targets i32 [t]; targetLogProb, logSumExp, entropy,
 * nonTargetLogSumExp f32 [t] each; ids [t, k] (u16 or i32); logits; in version 2 the number of
 * images i32 and the visual tokens of each i32; of each image the upper triangle of its Gram
 * matrix, row-major.
 */
public final class SignalWriter {
  /** Ending of unit files. */
  public static final String SUFFIX = ".gsig";

  /** An example: its tokens' bytes or its error, and its images'. */
  private record Entry(byte[] tokens, int length, boolean bad, int[] visualTokens, byte[] grams) {
    byte[] sizes() {
      ByteBuffer b =
          ByteBuffer.allocate(4 * (1 + visualTokens.length)).order(ByteOrder.LITTLE_ENDIAN);
      b.putInt(visualTokens.length);
      for (int n : visualTokens) {
        b.putInt(n);
      }
      return b.array();
    }
  }

  private final SignalForm form;
  private final long first;
  private final int visualTokens;
  private final List<Entry> entries = new ArrayList<>();

  /**
   * A writer.
   *
   * @param visualTokens of every image, for a unit without any; 0 where images differ
   * @param first index of the first example in the dataset
   */
  public SignalWriter(SignalForm form, int visualTokens, long first) {
    this.form = form;
    this.visualTokens = visualTokens;
    this.first = first;
  }

  /**
   * Appends the next example, good or bad.
   *
   * @throws GraceException data, for an image with too many visual tokens
   */
  public void add(Signals s) {
    if (s.error() != null) {
      byte[] text = s.error().getBytes(StandardCharsets.UTF_8);
      entries.add(new Entry(text, text.length, true, new int[0], new byte[0]));
      return;
    }
    for (int n : s.visualTokens()) {
      if (n > SignalHeader.MAX_VISUAL) {
        throw GraceException.data(
            "an image has %d visual tokens; allowed: at most %d", n, SignalHeader.MAX_VISUAL);
      }
    }
    entries.add(new Entry(tokens(s), s.tokens(), false, s.visualTokens().clone(), grams(s)));
  }

  /** Supervised tokens so far. */
  public long tokens() {
    return entries.stream().filter(e -> !e.bad()).mapToLong(Entry::length).sum();
  }

  /** Images of good examples so far. */
  public long images() {
    return entries.stream().mapToLong(e -> e.visualTokens().length).sum();
  }

  /** Bytes that an image's Gram matrix takes; the mean where they differ. */
  public double bytesPerImage() {
    int size = size();
    return size != SignalHeader.OWN
        ? form.gramBytes(size)
        : (double) entries.stream().mapToLong(e -> e.grams().length).sum() / Math.max(1, images());
  }

  /** Visual tokens of every image if each good example has one image of that size; else OWN. */
  private int size() {
    int[][] all =
        entries.stream().filter(e -> !e.bad()).map(Entry::visualTokens).toArray(int[][]::new);
    if (all.length == 0) {
      return visualTokens;
    }
    for (int[] own : all) {
      if (own.length != 1 || own[0] != all[0][0]) {
        return SignalHeader.OWN;
      }
    }
    return all[0][0];
  }

  /** Writes the file and returns its header. */
  public SignalHeader write(Path file) {
    int size = size();
    List<List<byte[]>> payloads = new ArrayList<>();
    long bytes = SignalHeader.BYTES + (long) entries.size() * SignalHeader.ENTRY_BYTES;
    for (Entry e : entries) {
      List<byte[]> parts =
          e.bad()
              ? List.of(e.tokens())
              : size == SignalHeader.OWN
                  ? List.of(e.tokens(), e.sizes(), e.grams())
                  : List.of(e.tokens(), e.grams());
      payloads.add(parts);
      bytes += bytes(parts);
    }
    SignalHeader header = new SignalHeader(form, size, first, entries.size(), bytes);
    ByteBuffer head =
        ByteBuffer.allocate(SignalHeader.BYTES + entries.size() * SignalHeader.ENTRY_BYTES)
            .order(ByteOrder.LITTLE_ENDIAN);
    header.write(head);
    long at = head.capacity();
    for (int i = 0; i < entries.size(); i++) {
      Entry e = entries.get(i);
      head.putLong(at).putInt(e.length()).putInt(e.bad() ? 1 : 0);
      at += bytes(payloads.get(i));
    }
    try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file))) {
      out.write(head.array());
      for (List<byte[]> parts : payloads) {
        for (byte[] part : parts) {
          out.write(part);
        }
      }
    } catch (IOException e) {
      throw GraceException.environment("cannot write %s: %s", file, e.getMessage()).withCause(e);
    }
    return header;
  }

  private static long bytes(List<byte[]> parts) {
    return parts.stream().mapToLong(p -> p.length).sum();
  }

  private byte[] tokens(Signals s) {
    int t = s.tokens();
    ByteBuffer b =
        ByteBuffer.allocate(Math.toIntExact(t * form.bytesPerToken()))
            .order(ByteOrder.LITTLE_ENDIAN);
    for (int v : s.targets()) {
      b.putInt(v);
    }
    floats(b, s.statistics().targetLogProb());
    floats(b, s.statistics().logSumExp());
    floats(b, s.statistics().entropy());
    floats(b, s.statistics().nonTargetLogSumExp());
    if (form.rows() == SignalForm.Rows.TOP_K) {
      for (int id : s.ids()) {
        if (form.idBytes() == 2) {
          b.putShort((short) id);
        } else {
          b.putInt(id);
        }
      }
    }
    if (form.rows() == SignalForm.Rows.FULL_F16) {
      for (float v : s.logits()) {
        b.putShort(Float.floatToFloat16(v));
      }
    } else {
      floats(b, s.logits());
    }
    return filled(b);
  }

  private byte[] grams(Signals s) {
    if (form.gram() == SignalForm.Gram.NONE) {
      return new byte[0];
    }
    long bytes = Arrays.stream(s.visualTokens()).mapToLong(form::gramBytes).sum();
    ByteBuffer b = ByteBuffer.allocate(Math.toIntExact(bytes)).order(ByteOrder.LITTLE_ENDIAN);
    for (int image = 0; image < s.visualTokens().length; image++) {
      int n = s.visualTokens()[image];
      for (int i = 0; i < n; i++) {
        for (int j = i; j < n; j++) {
          float v = s.grams().get(image)[i * n + j];
          if (form.gram() == SignalForm.Gram.F32) {
            b.putFloat(v);
          } else {
            int bits = Float.floatToIntBits(v);
            b.putShort((short) ((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16));
          }
        }
      }
    }
    return filled(b);
  }

  private static byte[] filled(ByteBuffer b) {
    if (b.hasRemaining()) {
      throw GraceException.bug("signals fill %d of their %d bytes", b.position(), b.capacity());
    }
    return b.array();
  }

  private static void floats(ByteBuffer b, float[] values) {
    for (float v : values) {
      b.putFloat(v);
    }
  }
}
