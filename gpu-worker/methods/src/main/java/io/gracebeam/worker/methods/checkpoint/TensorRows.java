package io.gracebeam.worker.methods.checkpoint;

import io.gracebeam.proto.error.GraceException;
import java.io.EOFException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;

/**
 * A matrix [rows, cols] that stays in its safetensors file. A row is read when it is asked for: an
 * embedding table, of which each token needs one row, then takes no memory but the system's file
 * cache, which is given up where memory is short. The file stays open, so it may be moved or
 * deleted meanwhile. It is read, not mapped: one that is cut off later gives an error, not a fault.
 * Safe for concurrent use; an interrupt does not close the file.
 */
public final class TensorRows implements AutoCloseable {
  private final RandomAccessFile file;
  private final String fileName;
  private final TensorInfo info;
  private final int rows;
  private final int cols;
  private final byte[] bytes;

  private TensorRows(RandomAccessFile file, String fileName, TensorInfo info) {
    this.file = file;
    this.fileName = fileName;
    this.info = info;
    this.rows = (int) info.shape()[0];
    this.cols = (int) info.shape()[1];
    this.bytes = new byte[Math.multiplyExact(cols, info.dtype().bytes())];
  }

  /** Whether a tensor has rows of floating-point numbers that can be read one by one. */
  static boolean possible(TensorInfo info) {
    long[] shape = info.shape();
    return shape.length == 2
        && info.dtype().floating()
        && shape[0] <= Integer.MAX_VALUE
        && shape[1] <= Integer.MAX_VALUE / info.dtype().bytes();
  }

  /**
   * Opens a tensor of a file whose header was checked.
   *
   * @throws GraceException DATA, where the file is shorter than its header says
   */
  static TensorRows open(Path path, TensorInfo info) {
    String name = Safetensors.name(path);
    if (!possible(info)) {
      throw GraceException.bug("tensor %s of %s has no rows of numbers", info.name(), name);
    }
    try {
      RandomAccessFile file = new RandomAccessFile(path.toFile(), "r");
      if (file.length() < info.end()) {
        file.close();
        throw truncated(name, info);
      }
      return new TensorRows(file, name, info);
    } catch (IOException e) {
      throw Safetensors.unreadable(path, e);
    }
  }

  /**
   * Opens one tensor of a single file.
   *
   * @throws GraceException DATA for a file that is wrong in any way, or has no such matrix
   */
  public static TensorRows open(Path path, String tensor) {
    TensorInfo info = Safetensors.read(path).get(tensor);
    if (info == null || !possible(info)) {
      throw GraceException.data(
          "%s has no matrix of numbers named %s", Safetensors.name(path), tensor);
    }
    return open(path, info);
  }

  /** Number of rows. */
  public int rows() {
    return rows;
  }

  /** Numbers of a row. */
  public int cols() {
    return cols;
  }

  /**
   * Writes row {@code index} to {@code out} from {@code at} on, as float32.
   *
   * @throws GraceException DATA, where the file was cut off or the row has a number that is not
   *     finite
   */
  public synchronized void row(int index, float[] out, int at) {
    if (index < 0 || index >= rows) {
      throw GraceException.bug("row %d of %s; allowed: 0 to %d", index, info.name(), rows - 1);
    }
    try {
      file.seek(info.begin() + (long) index * bytes.length);
      file.readFully(bytes);
    } catch (EOFException e) {
      throw truncated(fileName, info).withCause(e);
    } catch (IOException e) {
      throw GraceException.environment("%s could not be read (%s)", fileName, e.getMessage())
          .withCause(e);
    }
    ByteBuffer data = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    float[] values = new Tensor(new long[] {cols}, info.dtype(), data).floats();
    for (int i = 0; i < cols; i++) {
      if (!Float.isFinite(values[i])) {
        throw Checkpoint.notFinite(fileName, info.name(), values[i], (long) index * cols + i);
      }
    }
    System.arraycopy(values, 0, out, at, cols);
  }

  /** The whole matrix as float32. */
  public Tensor all() {
    float[] out = new float[Math.multiplyExact(rows, cols)];
    for (int i = 0; i < rows; i++) {
      row(i, out, i * cols);
    }
    return Tensor.of(info.shape().clone(), out);
  }

  /** Reads every row once: afterwards all are known to be finite. */
  TensorRows checked() {
    float[] row = new float[cols];
    try {
      for (int i = 0; i < rows; i++) {
        row(i, row, 0);
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
    return this;
  }

  private static GraceException truncated(String file, TensorInfo info) {
    return GraceException.data("%s is truncated in tensor %s", file, info.name());
  }

  @Override
  public synchronized void close() {
    try {
      file.close();
    } catch (IOException e) {
      throw GraceException.environment("%s could not be closed (%s)", fileName, e.getMessage())
          .withCause(e);
    }
  }
}
