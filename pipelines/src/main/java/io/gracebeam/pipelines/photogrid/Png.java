package io.gracebeam.pipelines.photogrid;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.zip.Adler32;
import java.util.zip.CRC32;

/** Writes PNG without compression, so that the bytes depend on no library's version. */
final class Png {
  private static final int BLOCK = 65535;

  private Png() {}

  /** The file of {@code width} x {@code height} RGB pixels, row-major. */
  static byte[] encode(byte[] rgb, int width, int height) {
    byte[] rows = new byte[height * (1 + width * 3)];
    for (int y = 0; y < height; y++) {
      System.arraycopy(rgb, y * width * 3, rows, y * (1 + width * 3) + 1, width * 3);
    }
    int blocks = (rows.length + BLOCK - 1) / BLOCK;
    ByteBuffer data = ByteBuffer.allocate(2 + rows.length + 5 * blocks + 4);
    data.put((byte) 0x78).put((byte) 0x01);
    for (int at = 0; at < rows.length; at += BLOCK) {
      int n = Math.min(BLOCK, rows.length - at);
      data.put((byte) (at + n == rows.length ? 1 : 0));
      data.put((byte) n).put((byte) (n >> 8)).put((byte) ~n).put((byte) (~n >> 8));
      data.put(rows, at, n);
    }
    Adler32 adler = new Adler32();
    adler.update(rows);
    data.putInt((int) adler.getValue());
    ByteArrayOutputStream out = new ByteArrayOutputStream(data.capacity() + 64);
    out.writeBytes(new byte[] {(byte) 0x89, 'P', 'N', 'G', 13, 10, 26, 10});
    byte[] header =
        ByteBuffer.allocate(13)
            .putInt(width)
            .putInt(height)
            .put(new byte[] {8, 2, 0, 0, 0})
            .array();
    chunk(out, "IHDR", header);
    chunk(out, "IDAT", data.array());
    chunk(out, "IEND", new byte[0]);
    return out.toByteArray();
  }

  private static void chunk(ByteArrayOutputStream out, String type, byte[] body) {
    byte[] name = type.getBytes(StandardCharsets.US_ASCII);
    CRC32 crc = new CRC32();
    crc.update(name);
    crc.update(body);
    out.writeBytes(ByteBuffer.allocate(4).putInt(body.length).array());
    out.writeBytes(name);
    out.writeBytes(body);
    out.writeBytes(ByteBuffer.allocate(4).putInt((int) crc.getValue()).array());
  }
}
