package io.gracebeam.worker.server.bench;

import io.gracebeam.worker.methods.checkpoint.TensorRows;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;

/**
 * A safetensors file with an embedding table alone: random bfloat16 numbers of a published model's
 * size, in a temporary folder. It is removed when the bench ends, interrupted or not.
 */
final class EmbeddingFile implements AutoCloseable {
  private static final String NAME = "embeddings";
  private static final int CHUNK = 1 << 20;

  /** Sign and fraction are random, the exponent is that of 0.25: all numbers are finite. */
  private static final int RANDOM = 0x807f;

  private static final int EXPONENT = 0x3e80;

  private final Path path;

  /** Writes the table [vocab, width]. */
  EmbeddingFile(int vocab, int width) throws IOException {
    path = Files.createTempFile("grace-bench-embeddings", ".safetensors");
    path.toFile().deleteOnExit();
    try (FileChannel out = FileChannel.open(path, StandardOpenOption.WRITE)) {
      write(out, vocab, width);
    } catch (IOException e) {
      Files.delete(path);
      throw e;
    }
  }

  private static void write(FileChannel out, int vocab, int width) throws IOException {
    long bytes = 2L * vocab * width;
    byte[] header =
        "{\"%s\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}"
            .formatted(NAME, vocab, width, bytes)
            .getBytes(StandardCharsets.UTF_8);
    ByteBuffer buffer = ByteBuffer.allocate(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
    drain(out, buffer.putLong(header.length).put(header));
    Random random = new Random(1);
    for (long left = bytes; left > 0; left -= CHUNK) {
      for (long i = Math.min(left, CHUNK); i > 0; i -= 2) {
        buffer.putShort((short) (random.nextInt() & RANDOM | EXPONENT));
      }
      drain(out, buffer);
    }
  }

  private static void drain(FileChannel out, ByteBuffer buffer) throws IOException {
    buffer.flip();
    while (buffer.hasRemaining()) {
      out.write(buffer);
    }
    buffer.clear();
  }

  Path path() {
    return path;
  }

  /** The rows of such a file. */
  static TensorRows open(Path path) {
    return TensorRows.open(path, NAME);
  }

  @Override
  public void close() throws IOException {
    Files.deleteIfExists(path);
  }
}
