package io.gracebeam.worker.methods.training;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Optimizer state as a safetensors file of one-dimensional float32 tensors, names sorted, so that
 * equal states have equal bytes.
 */
public final class StateFile {
  /** File name inside a trained folder. */
  public static final String FILE = "state.safetensors";

  private StateFile() {}

  /** Writes the tensors. */
  public static void write(Path file, SortedMap<String, float[]> tensors) {
    StringBuilder header = new StringBuilder("{");
    long at = 0;
    for (Map.Entry<String, float[]> e : tensors.entrySet()) {
      long end = at + 4L * e.getValue().length;
      header
          .append(header.length() > 1 ? "," : "")
          .append(
              "\"%s\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[%d,%d]}"
                  .formatted(e.getKey(), e.getValue().length, at, end));
      at = end;
    }
    header.append('}');
    while (header.length() % 8 != 0) {
      header.append(' ');
    }
    byte[] head = header.toString().getBytes(StandardCharsets.UTF_8);
    try (OutputStream out = Files.newOutputStream(file)) {
      out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(head.length).array());
      out.write(head);
      for (float[] values : tensors.values()) {
        ByteBuffer b = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        b.asFloatBuffer().put(values);
        out.write(b.array());
      }
    } catch (IOException e) {
      throw GraceException.environment("cannot write %s: %s", file, e.getMessage()).withCause(e);
    }
  }

  /**
   * Reads the tensors.
   *
   * @throws GraceException data, if header or sizes do not fit the file
   */
  public static SortedMap<String, float[]> read(Path file) {
    try {
      byte[] all = Files.readAllBytes(file);
      ByteBuffer b = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
      long head = all.length < 8 ? -1 : b.getLong(0);
      if (head < 2 || head > all.length - 8) {
        throw GraceException.data("%s: bad header length", file.getFileName());
      }
      JsonNode root = new ObjectMapper().readTree(all, 8, (int) head);
      SortedMap<String, float[]> out = new TreeMap<>();
      Iterator<Map.Entry<String, JsonNode>> fields = root.fields();
      while (fields.hasNext()) {
        Map.Entry<String, JsonNode> e = fields.next();
        long begin = e.getValue().path("data_offsets").path(0).asLong(-1);
        long end = e.getValue().path("data_offsets").path(1).asLong(-1);
        if (begin < 0 || end < begin || (end - begin) % 4 != 0 || end > all.length - 8 - head) {
          throw GraceException.data(
              "%s: tensor %s is out of range", file.getFileName(), e.getKey());
        }
        float[] values = new float[(int) ((end - begin) / 4)];
        b.slice((int) (8 + head + begin), (int) (end - begin))
            .order(ByteOrder.LITTLE_ENDIAN)
            .asFloatBuffer()
            .get(values);
        out.put(e.getKey(), values);
      }
      return out;
    } catch (IOException e) {
      throw GraceException.data("%s: cannot be read as optimizer state", file.getFileName())
          .withCause(e);
    }
  }
}
