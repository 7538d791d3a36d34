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
  private SignalHeader shape;

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

  /** Shape shared by all units; first, count and bytes are those of the first unit. */
  public SignalHeader shape() {
    return shape;
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
   * The same without ids, logits and Gram matrix, which are large: what a batch is weighed by.
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
    long need = length < 0 ? -1 : bad ? length : length * h.bytesPerToken() + h.bytesPerImage();
    if (need < 0
        || need > Integer.MAX_VALUE
        || offset < SignalHeader.BYTES
        || offset > h.bytes() - need) {
      throw GraceException.data("%s: entry of example %d is out of range", u.file(), index);
    }
    ByteBuffer b = u.data().slice((int) offset, (int) need).order(ByteOrder.LITTLE_ENDIAN);
    if (bad) {
      byte[] text = new byte[length];
      b.get(text);
      return Signals.bad(new String(text, StandardCharsets.UTF_8));
    }
    return decode(h, b, length, all, u.file(), index);
  }

  private static Signals decode(
      SignalHeader h, ByteBuffer b, int t, boolean all, String file, long index) {
    int[] targets = new int[t];
    for (int i = 0; i < t; i++) {
      targets[i] = id(b.getInt(), h, file, index);
    }
    float[] targetLogProb = floats(b, t);
    float[] lse = floats(b, t);
    float[] entropy = floats(b, t);
    float[] lseT = floats(b, t);
    if (!all) {
      return new Signals(null, targets, targetLogProb, lse, entropy, lseT, null, null, null);
    }
    int[] ids = null;
    int width = h.vocab();
    if (h.form() == SignalHeader.Form.TOP_K) {
      width = h.k();
      ids = new int[t * width];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = id(h.idBytes() == 2 ? b.getShort() & 0xFFFF : b.getInt(), h, file, index);
      }
    }
    float[] logits;
    if (h.form() == SignalHeader.Form.FULL_F16) {
      logits = new float[t * width];
      for (int i = 0; i < logits.length; i++) {
        logits[i] = Float.float16ToFloat(b.getShort());
      }
    } else {
      logits = floats(b, t * width);
    }
    return new Signals(null, targets, targetLogProb, lse, entropy, lseT, ids, logits, gram(h, b));
  }

  private static float[] gram(SignalHeader h, ByteBuffer b) {
    if (h.gram() == SignalHeader.Gram.NONE) {
      return null;
    }
    int n = h.visualTokens();
    float[] out = new float[n * n];
    for (int i = 0; i < n; i++) {
      for (int j = i; j < n; j++) {
        float v =
            h.gram() == SignalHeader.Gram.F32
                ? b.getFloat()
                : Float.intBitsToFloat(b.getShort() << 16);
        out[i * n + j] = v;
        out[j * n + i] = v;
      }
    }
    return out;
  }

  private static int id(int id, SignalHeader h, String file, long index) {
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
      if (shape == null) {
        shape = h;
      } else if (shape.form() != h.form()
          || shape.vocab() != h.vocab()
          || shape.k() != h.k()
          || shape.temperature() != h.temperature()
          || shape.gram() != h.gram()
          || shape.visualTokens() != h.visualTokens()) {
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
