package io.gracebeam.worker.methods.checkpoint;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.function.BiConsumer;

/**
 * The safetensors format: 8 bytes header length (little-endian), a JSON header, then the tensors'
 * bytes without holes. Every file is untrusted: sizes are checked before anything of that size is
 * allocated, and all errors are DATA errors of one line that names the file and the tensor.
 */
public final class Safetensors {
  private static final long MAX_HEADER = 100_000_000;
  private static final int MAX_TENSORS = 100_000;
  private static final int MAX_NAME = 512;
  private static final int MAX_RANK = 8;

  private static final ObjectMapper JSON =
      new ObjectMapper(
              JsonFactory.builder()
                  .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(8).build())
                  .enable(com.fasterxml.jackson.core.StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                  .build())
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY);

  private Safetensors() {}

  /** Reads and checks a header: tensors in the order of their bytes. */
  public static Map<String, TensorInfo> read(Path file) {
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      return readHeader(channel, name(file));
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  /**
   * Reads a whole file, one tensor after another in the order of their bytes.
   *
   * @throws GraceException data, for a file that is missing or wrong in any way
   */
  public static void tensors(Path file, BiConsumer<String, Tensor> out) {
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      for (TensorInfo info : readHeader(channel, name(file)).values()) {
        out.accept(info.name(), load(channel, info, name(file)));
      }
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  /** Reads one tensor's bytes into memory. */
  static Tensor load(FileChannel channel, TensorInfo info, String file) throws IOException {
    long bytes = info.end() - info.begin();
    if (bytes > Integer.MAX_VALUE - 16) {
      throw GraceException.data(
          "%s: tensor %s has %d bytes; allowed: below 2 GiB", file, info.name(), bytes);
    }
    ByteBuffer data = ByteBuffer.allocate((int) bytes).order(ByteOrder.LITTLE_ENDIAN);
    try {
      readFully(channel, data, info.begin());
    } catch (EOFException e) {
      throw GraceException.data("%s is truncated in tensor %s", file, info.name()).withCause(e);
    }
    return new Tensor(info.shape(), info.dtype(), data.flip().order(ByteOrder.LITTLE_ENDIAN));
  }

  /**
   * Writes a file: tensors in name order, header padded with spaces to 8 bytes, metadata `format:
   * pt`.
   */
  public static void write(Path file, SortedMap<String, Tensor> tensors) {
    var header = JSON.createObjectNode();
    header.putObject("__metadata__").put("format", "pt");
    long offset = 0;
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      Tensor tensor = entry.getValue();
      long bytes = byteCount("new file", entry.getKey(), tensor.dtype(), tensor.shape());
      if (bytes != tensor.data().limit()) {
        throw GraceException.bug(
            "%s has %d bytes but its shape calls for %d",
            entry.getKey(), tensor.data().limit(), bytes);
      }
      var node = header.putObject(entry.getKey());
      node.put("dtype", tensor.dtype().name());
      var shape = node.putArray("shape");
      for (long dimension : tensor.shape()) {
        shape.add(dimension);
      }
      node.putArray("data_offsets").add(offset).add(offset + bytes);
      offset += bytes;
    }
    try (FileChannel channel =
        FileChannel.open(
            file,
            StandardOpenOption.WRITE,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING)) {
      byte[] json = JSON.writeValueAsBytes(header);
      int padded = (json.length + 7) / 8 * 8;
      ByteBuffer head = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN);
      head.putLong(padded).put(json);
      while (head.hasRemaining()) {
        head.put((byte) ' ');
      }
      writeFully(channel, head.flip());
      for (Tensor tensor : tensors.values()) {
        writeFully(channel, tensor.data().duplicate().rewind());
      }
    } catch (IOException e) {
      throw GraceException.environment("%s could not be written (%s)", name(file), e.getMessage())
          .withCause(e);
    }
  }

  static Map<String, TensorInfo> readHeader(FileChannel channel, String file) throws IOException {
    long size = channel.size();
    if (size < 10) {
      throw GraceException.data(
          "%s is no safetensors file: %d bytes are too few for a header", file, size);
    }
    ByteBuffer prefix = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    readFully(channel, prefix, 0);
    long length = prefix.getLong(0);
    if (length < 2 || length > MAX_HEADER || length > size - 8) {
      throw GraceException.data(
          "%s is no safetensors file: its header claims %s bytes; allowed: 2 to %d",
          file, Long.toUnsignedString(length), Math.min(MAX_HEADER, size - 8));
    }
    ByteBuffer raw = ByteBuffer.allocate((int) length);
    readFully(channel, raw, 8);
    JsonNode root = parse(raw, file);
    long start = 8 + length;
    List<TensorInfo> infos = new ArrayList<>();
    for (Map.Entry<String, JsonNode> entry : root.properties()) {
      if (entry.getKey().equals("__metadata__")) {
        continue;
      }
      if (infos.size() == MAX_TENSORS || entry.getKey().length() > MAX_NAME) {
        throw GraceException.data(
            "%s: the header has too many tensors or too long a name; allowed: %d tensors, %d"
                + " characters",
            file, MAX_TENSORS, MAX_NAME);
      }
      infos.add(info(entry.getKey(), entry.getValue(), start, size, file));
    }
    infos.sort(
        Comparator.comparingLong(TensorInfo::begin)
            .thenComparingLong(TensorInfo::end)
            .thenComparing(TensorInfo::name));
    Map<String, TensorInfo> out = new LinkedHashMap<>();
    long at = start;
    for (TensorInfo info : infos) {
      if (info.begin() < at) {
        throw GraceException.data(
            "%s: tensor %s overlaps the one before it (offset %d, expected %d)",
            file, info.name(), info.begin() - start, at - start);
      }
      if (info.begin() > at) {
        throw GraceException.data(
            "%s: %d unused bytes before tensor %s; allowed: none",
            file, info.begin() - at, info.name());
      }
      at = info.end();
      out.put(info.name(), info);
    }
    if (at != size) {
      throw GraceException.data(
          "%s: %d bytes behind the last tensor; allowed: none", file, size - at);
    }
    return out;
  }

  private static JsonNode parse(ByteBuffer raw, String file) {
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(raw.rewind()).toString();
      if (!text.startsWith("{")) {
        throw GraceException.data("%s: the header does not start with '{'", file);
      }
      JsonNode root = JSON.readTree(text);
      if (!root.isObject()) {
        throw GraceException.data("%s: the header is not a JSON object", file);
      }
      return root;
    } catch (CharacterCodingException e) {
      throw GraceException.data("%s: the header is not UTF-8", file).withCause(e);
    } catch (JsonProcessingException e) {
      throw GraceException.data(
              "%s: the header is not valid JSON (%s)",
              file, e.getOriginalMessage().lines().findFirst().orElse(""))
          .withCause(e);
    }
  }

  private static TensorInfo info(String name, JsonNode node, long start, long size, String file) {
    DType dtype;
    try {
      dtype = DType.valueOf(node.path("dtype").asText());
    } catch (IllegalArgumentException e) {
      throw GraceException.data(
              "%s: tensor %s has element type '%s'; allowed: %s",
              file, name, node.path("dtype").asText(), List.of(DType.values()))
          .withCause(e);
    }
    JsonNode dimensions = node.path("shape");
    JsonNode offsets = node.path("data_offsets");
    if (!dimensions.isArray() || dimensions.size() > MAX_RANK) {
      throw GraceException.data(
          "%s: tensor %s has no shape of at most %d dimensions", file, name, MAX_RANK);
    }
    long[] shape = new long[dimensions.size()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = natural(dimensions.get(i), file, name, "shape");
    }
    if (!offsets.isArray() || offsets.size() != 2) {
      throw GraceException.data("%s: tensor %s has no two data_offsets", file, name);
    }
    long begin = natural(offsets.get(0), file, name, "data_offsets");
    long end = natural(offsets.get(1), file, name, "data_offsets");
    if (end < begin || end > size - start) {
      throw GraceException.data(
          "%s: tensor %s has data_offsets %d to %d; allowed: within the file's %d data bytes",
          file, name, begin, end, size - start);
    }
    long bytes = byteCount(file, name, dtype, shape);
    if (bytes != end - begin) {
      throw GraceException.data(
          "%s: tensor %s has %d bytes but its shape and type call for %d",
          file, name, end - begin, bytes);
    }
    return new TensorInfo(name, dtype, shape, start + begin, start + end);
  }

  private static long natural(JsonNode node, String file, String name, String what) {
    if (!node.isIntegralNumber() || !node.canConvertToLong() || node.longValue() < 0) {
      throw GraceException.data(
          "%s: tensor %s has %s in its %s; allowed: integers from 0", file, name, node, what);
    }
    return node.longValue();
  }

  private static long byteCount(String file, String name, DType dtype, long[] shape) {
    long bytes = dtype.bytes();
    try {
      for (long dimension : shape) {
        bytes = Math.multiplyExact(bytes, dimension);
      }
    } catch (ArithmeticException e) {
      throw GraceException.data("%s: tensor %s has a shape beyond 2^63 bytes", file, name)
          .withCause(e);
    }
    return bytes;
  }

  private static void readFully(FileChannel channel, ByteBuffer into, long position)
      throws IOException {
    long at = position;
    while (into.hasRemaining()) {
      int count = channel.read(into, at);
      if (count < 0) {
        throw new EOFException();
      }
      at += count;
    }
  }

  private static void writeFully(FileChannel channel, ByteBuffer from) throws IOException {
    while (from.hasRemaining()) {
      channel.write(from);
    }
  }

  static GraceException unreadable(Path file, IOException e) {
    return Files.exists(file)
        ? GraceException.environment("%s could not be read (%s)", name(file), e.getMessage())
            .withCause(e)
        : GraceException.data("%s is missing in its folder", name(file)).withCause(e);
  }

  static String name(Path file) {
    return String.valueOf(file.getFileName());
  }
}
