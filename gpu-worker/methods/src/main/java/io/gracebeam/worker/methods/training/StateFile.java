package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.checkpoint.DType;
import io.gracebeam.worker.methods.checkpoint.Safetensors;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
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

  /** What stands before a weight's name in the name of its log-scales. */
  public static final String LOG_SCALES = "theta.";

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
   * @throws GraceException data, if the file is missing, damaged, or holds other types than float32
   */
  public static SortedMap<String, float[]> read(Path file) {
    SortedMap<String, float[]> out = new TreeMap<>();
    Safetensors.tensors(
        file,
        (name, tensor) -> {
          if (tensor.dtype() != DType.F32) {
            throw GraceException.data(
                "%s: tensor %s has element type %s; allowed: F32",
                file.getFileName(), name, tensor.dtype());
          }
          out.put(name, tensor.floats());
        });
    return out;
  }
}
