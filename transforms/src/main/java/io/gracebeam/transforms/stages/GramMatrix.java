package io.gracebeam.transforms.stages;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * Centered similarity matrix of one image's visual tokens, as a unit file of signals holds it. The
 * layout is the worker's {@code SignalHeader} and {@code SignalWriter}; of the example's other
 * signals only their size is looked at.
 */
public final class GramMatrix {
  private static final String SUFFIX = ".gsig";
  private static final int MAGIC = 0x47495347;
  private static final int FIXED_SIZES = 1;
  private static final int OWN_SIZES = 2;
  private static final int HEADER = 64;
  private static final int ENTRY = 16;
  private static final int FULL_F32 = 0;
  private static final int FULL_F16 = 1;
  private static final int NONE = 0;
  private static final int BF16 = 1;
  private static final int MAX_TOKENS = 1 << 14;

  private final int tokens;
  private final float[] values;

  private GramMatrix(int tokens, float[] values) {
    this.tokens = tokens;
    this.values = values;
  }

  /** Visual tokens: rows and columns. */
  public int tokens() {
    return tokens;
  }

  /** An entry. */
  public double at(int row, int column) {
    return values[row * tokens + column];
  }

  /** Whether all entries are numbers. */
  public boolean finite() {
    for (float value : values) {
      if (!Float.isFinite(value)) {
        return false;
      }
    }
    return true;
  }

  /**
   * The matrices of an example, one for each of its images.
   *
   * @param artifact folder of an extraction unit
   * @param example its index in the dataset
   * @return empty if the unit keeps no matrices, does not hold the example, or refused it
   * @throws GraceException (environment) if the file cannot be read, (data) if it is damaged
   */
  public static List<GramMatrix> read(Path artifact, long example) {
    List<Path> files;
    try (Stream<Path> walk = Files.walk(artifact)) {
      files = walk.filter(file -> file.toString().endsWith(SUFFIX)).sorted().toList();
      for (Path file : files) {
        ByteBuffer data = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        List<GramMatrix> found = find(data, example, file);
        if (!found.isEmpty()) {
          return found;
        }
      }
    } catch (IOException e) {
      throw GraceException.environment("signals %s: cannot be read: %s", artifact, e.getMessage())
          .withCause(e);
    }
    return List.of();
  }

  private static List<GramMatrix> find(ByteBuffer data, long example, Path file) {
    try {
      return decode(data, example);
    } catch (IllegalArgumentException | BufferUnderflowException | ArithmeticException e) {
      throw GraceException.data("%s: damaged, or no signal file: %s", file, e.getMessage())
          .withCause(e);
    }
  }

  private static List<GramMatrix> decode(ByteBuffer data, long example) {
    check(data.remaining() >= HEADER && data.getInt(0) == MAGIC, "it does not begin as one");
    int version = data.getInt(4);
    check(version == FIXED_SIZES || version == OWN_SIZES, "its version is unknown");
    int gram = data.getInt(24);
    int tokens = data.getInt(28);
    long first = data.getLong(32);
    int count = data.getInt(40);
    check(tokens >= 0 && tokens <= MAX_TOKENS && gram >= NONE && gram <= 2, "its form is unknown");
    check(count >= 0 && HEADER + (long) count * ENTRY <= data.limit(), "its table is cut off");
    if (gram == NONE || example < first || example >= first + count) {
      return List.of();
    }
    int entry = HEADER + (int) (example - first) * ENTRY;
    boolean refused = data.getInt(entry + 12) != 0;
    if (refused) {
      return List.of();
    }
    long at = data.getLong(entry) + data.getInt(entry + 8) * bytesPerToken(data);
    check(at >= HEADER && at <= data.limit(), "an entry is out of range");
    data.position(Math.toIntExact(at));
    int[] sizes = {tokens};
    if (version == OWN_SIZES) {
      int images = data.getInt();
      check(images >= 0 && images <= data.remaining() / 4, "an entry is out of range");
      sizes = new int[images];
      for (int i = 0; i < images; i++) {
        sizes[i] = data.getInt();
        check(sizes[i] >= 0 && sizes[i] <= MAX_TOKENS, "an entry is out of range");
      }
    }
    List<GramMatrix> out = new ArrayList<>();
    for (int size : sizes) {
      out.add(matrix(data, size, gram == BF16));
    }
    return out;
  }

  private static GramMatrix matrix(ByteBuffer data, int tokens, boolean narrow) {
    long bytes = (long) tokens * (tokens + 1) / 2 * (narrow ? 2 : 4);
    check(bytes <= data.remaining(), "an entry is out of range");
    float[] values = new float[tokens * tokens];
    for (int i = 0; i < tokens; i++) {
      for (int j = i; j < tokens; j++) {
        float value = narrow ? Float.intBitsToFloat(data.getShort() << 16) : data.getFloat();
        values[i * tokens + j] = value;
        values[j * tokens + i] = value;
      }
    }
    return new GramMatrix(tokens, values);
  }

  /** Targets and four scalars, then logits in full or the k largest with their ids. */
  private static long bytesPerToken(ByteBuffer data) {
    int form = data.getInt(8);
    long vocabulary = data.getInt(12);
    long k = data.getInt(16);
    check(vocabulary > 0 && k >= 0 && form >= 0 && form <= 2, "its form is unknown");
    long scalars = 5L * 4;
    if (form == FULL_F32) {
      return scalars + 4 * vocabulary;
    }
    if (form == FULL_F16) {
      return scalars + 2 * vocabulary;
    }
    return scalars + k * (4 + (vocabulary <= 1 << 16 ? 2 : 4));
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) {
      throw new IllegalArgumentException(otherwise);
    }
  }
}
