package io.gracebeam.worker.methods.signals;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * Reads unit files through memory maps. Sizes are checked against the file before anything is
 * allocated.
 */
public final class SignalReader {
  private record Unit(SignalHeader header, ByteBuffer data, String file) {}

  private final TreeMap<Long, Unit> units = new TreeMap<>();
  private SignalForm form;

  private SignalReader() {}

  /**
   * Opens one unit file, or all unit files below a folder.
   *
   * @throws GraceException data, if a file is damaged, units overlap, or units differ in form
   */
  public static SignalReader open(Path path) {
    SignalReader out = new SignalReader();
    try (Stream<Path> walk = Files.walk(path)) {
      List<Path> files = walk.filter(Files::isRegularFile).sorted().toList();
      for (Path f : files) {
        if (f.equals(path) || isUnit(f)) {
          out.add(f);
        }
      }
    } catch (IOException e) {
      throw GraceException.data("%s: teacher signals cannot be read", path.getFileName())
          .withCause(e);
    }
    if (out.units.isEmpty()) {
      throw GraceException.data("%s: holds no teacher-signal file", path.getFileName());
    }
    return out;
  }

  /** What all units hold. */
  public SignalForm form() {
    return form;
  }

  /** Whether a unit covers the example. */
  public boolean contains(long index) {
    var e = units.floorEntry(index);
    return e != null && index < e.getKey() + e.getValue().header().count();
  }

  /**
   * Signals of an example, by its index in the dataset.
   *
   * @throws GraceException data, if no unit covers it or its entry is damaged
   */
  public Signals get(long index) {
    return read(index, true);
  }

  /**
   * Signals without ids, logits and Gram matrices, which are large: what a batch is weighed by.
   *
   * @throws GraceException as {@link #get}
   */
  public Signals scalars(long index) {
    return read(index, false);
  }

  private Signals read(long index, boolean all) {
    if (!contains(index)) {
      throw GraceException.data("teacher signals lack example %d of the dataset", index);
    }
    Unit u = units.floorEntry(index).getValue();
    SignalHeader h = u.header();
    int at = SignalHeader.BYTES + (int) (index - h.first()) * SignalHeader.ENTRY_BYTES;
    long offset = u.data().getLong(at);
    int length = u.data().getInt(at + 8);
    boolean bad = u.data().getInt(at + 12) != 0;
    long need = length < 0 ? -1 : bad ? length : length * h.form().bytesPerToken();
    int[] visual = new int[0];
    if (need >= 0 && !bad) {
      visual = visualTokens(u, offset + need, index);
      need += h.ownSizes() ? 4L * (1 + visual.length) : 0;
      need += Arrays.stream(visual).mapToLong(h.form()::gramBytes).sum();
    }
    if (need < 0
        || need > Integer.MAX_VALUE
        || offset < SignalHeader.BYTES
        || offset > h.bytes() - need) {
      throw outOfRange(u, index);
    }
    ByteBuffer b = u.data().slice((int) offset, (int) need).order(ByteOrder.LITTLE_ENDIAN);
    if (bad) {
      byte[] text = new byte[length];
      b.get(text);
      return Signals.bad(new String(text, StandardCharsets.UTF_8));
    }
    return decode(h, b, length, all ? visual : null, u.file(), index);
  }

  /** Visual tokens of an example's images, which version 2 has behind its tokens. */
  private static int[] visualTokens(Unit u, long at, long index) {
    if (!u.header().ownSizes()) {
      return new int[] {u.header().visualTokens()};
    }
    if (at < SignalHeader.BYTES || at > u.header().bytes() - 4) {
      throw outOfRange(u, index);
    }
    int count = u.data().getInt((int) at);
    if (count < 0 || at + 4 + 4L * count > u.header().bytes()) {
      throw outOfRange(u, index);
    }
    int[] out = new int[count];
    for (int i = 0; i < count; i++) {
      out[i] = u.data().getInt((int) at + 4 + 4 * i);
      if (out[i] < 0 || out[i] > SignalHeader.MAX_VISUAL) {
        throw outOfRange(u, index);
      }
    }
    return out;
  }

  private static GraceException outOfRange(Unit u, long index) {
    return GraceException.data("%s: entry of example %d is out of range", u.file(), index);
  }

  /** Decodes an example; without {@code visual} nothing that is large. */
  private static Signals decode(
      SignalHeader header, ByteBuffer b, int t, int[] visual, String file, long index) {
    SignalForm h = header.form();
    int[] targets = new int[t];
    for (int i = 0; i < t; i++) {
      targets[i] = id(b.getInt(), h, file, index);
    }
    Signals.Statistics statistics =
        new Signals.Statistics(floats(b, t), floats(b, t), floats(b, t), floats(b, t));
    if (visual == null) {
      return new Signals(null, targets, statistics, null, null, null, List.of());
    }
    int[] ids = null;
    int width = h.vocab();
    if (h.rows() == SignalForm.Rows.TOP_K) {
      width = h.k();
      ids = new int[t * width];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = id(h.idBytes() == 2 ? b.getShort() & 0xFFFF : b.getInt(), h, file, index);
      }
    }
    float[] logits;
    if (h.rows() == SignalForm.Rows.FULL_F16) {
      logits = new float[t * width];
      for (int i = 0; i < logits.length; i++) {
        logits[i] = Float.float16ToFloat(b.getShort());
      }
    } else {
      logits = floats(b, t * width);
    }
    if (header.ownSizes()) {
      b.position(b.position() + 4 * (1 + visual.length));
    }
    List<float[]> grams = new ArrayList<>();
    for (int i = 0; i < visual.length && h.gram() != SignalForm.Gram.NONE; i++) {
      grams.add(gram(h, b, visual[i]));
    }
    return new Signals(null, targets, statistics, ids, logits, visual, grams);
  }

  private static float[] gram(SignalForm h, ByteBuffer b, int n) {
    float[] out = new float[n * n];
    for (int i = 0; i < n; i++) {
      for (int j = i; j < n; j++) {
        float v =
            h.gram() == SignalForm.Gram.F32
                ? b.getFloat()
                : Float.intBitsToFloat(b.getShort() << 16);
        out[i * n + j] = v;
        out[j * n + i] = v;
      }
    }
    return out;
  }

  private static int id(int id, SignalForm h, String file, long index) {
    if (id < 0 || id >= h.vocab()) {
      throw GraceException.data(
          "%s: example %d holds token id %d; the vocabulary has %d", file, index, id, h.vocab());
    }
    return id;
  }

  private static float[] floats(ByteBuffer b, int n) {
    float[] out = new float[n];
    b.asFloatBuffer().get(out);
    b.position(b.position() + 4 * n);
    return out;
  }

  private static boolean isUnit(Path file) throws IOException {
    if (file.toString().endsWith(SignalWriter.SUFFIX)) {
      return true;
    }
    ByteBuffer b = ByteBuffer.allocate(SignalHeader.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    try (FileChannel c = FileChannel.open(file)) {
      c.read(b);
    }
    return SignalHeader.matches(b.flip());
  }

  private void add(Path file) throws IOException {
    String name = String.valueOf(file.getFileName());
    try (FileChannel c = FileChannel.open(file)) {
      long size = c.size();
      if (size < SignalHeader.BYTES || size > Integer.MAX_VALUE) {
        throw GraceException.data(
            "%s: %d bytes; allowed are %d to %d",
            name, size, SignalHeader.BYTES, Integer.MAX_VALUE);
      }
      MappedByteBuffer data = c.map(FileChannel.MapMode.READ_ONLY, 0, size);
      data.order(ByteOrder.LITTLE_ENDIAN);
      SignalHeader h =
          SignalHeader.read(data.duplicate().order(ByteOrder.LITTLE_ENDIAN), size, name);
      if (form == null) {
        form = h.form();
      } else if (!form.equals(h.form())) {
        throw GraceException.data("%s: its form differs from that of the other units", name);
      }
      for (long i = h.first(); i < h.first() + h.count(); i++) {
        if (contains(i)) {
          throw GraceException.data("%s: example %d is in two units", name, i);
        }
      }
      units.put(h.first(), new Unit(h, data, name));
    }
  }
}
