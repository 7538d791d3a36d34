package io.gracebeam.proto.artifact;

import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * Tries again what failed for unknown reasons, after a pause that grows and differs by chance; a
 * stream that breaks goes on where it broke. A write whose reply was lost took effect, so {@link
 * #createIfAbsent} may say that the blob was there although this very call created it: callers
 * compare contents.
 */
final class RetryingBlobs implements BlobStore {
  private static final int ATTEMPTS = 5;

  private final BlobStore blobs;
  private final long firstPauseNanos;

  RetryingBlobs(BlobStore blobs, Duration firstPause) {
    this.blobs = blobs;
    this.firstPauseNanos = firstPause.toNanos();
  }

  @FunctionalInterface
  private interface Call<T> {
    T run() throws IOException;
  }

  @Override
  public InputStream open(String name, long offset, long length) throws IOException {
    return new Resuming(name, offset, length);
  }

  @Override
  public OptionalLong size(String name) throws IOException {
    return retry(() -> blobs.size(name));
  }

  @Override
  public boolean createIfAbsent(String name, Path content) throws IOException {
    return retry(() -> blobs.createIfAbsent(name, content));
  }

  @Override
  public List<String> list(String prefix) throws IOException {
    return retry(() -> blobs.list(prefix));
  }

  private <T> T retry(Call<T> call) throws IOException {
    for (int attempt = 1; ; attempt++) {
      try {
        return call.run();
      } catch (NoSuchFileException e) {
        throw e;
      } catch (IOException e) {
        if (attempt == ATTEMPTS) {
          throw e;
        }
        pause(attempt, e);
      }
    }
  }

  private void pause(int attempt, IOException failure) throws IOException {
    long most = firstPauseNanos << (attempt - 1);
    try {
      TimeUnit.NANOSECONDS.sleep(most / 2 + ThreadLocalRandom.current().nextLong(most / 2 + 1));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      InterruptedIOException interrupted = new InterruptedIOException("interrupted");
      interrupted.initCause(failure);
      throw interrupted;
    }
  }

  /** A stream that is opened again where it broke. */
  private final class Resuming extends InputStream {
    private final String name;
    private long at;
    private long left;
    private InputStream in;

    Resuming(String name, long offset, long length) throws IOException {
      this.name = name;
      this.at = offset;
      this.left = length;
      this.in = reopened();
    }

    private InputStream reopened() throws IOException {
      return retry(() -> blobs.open(name, at, left));
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      for (int attempt = 1; ; attempt++) {
        try {
          int read = in.read(bytes, offset, length);
          if (read > 0) {
            at += read;
            left -= left == ALL ? 0 : read;
          }
          return read;
        } catch (IOException e) {
          if (attempt == ATTEMPTS) {
            throw e;
          }
          pause(attempt, e);
          in.close();
          in = reopened();
        }
      }
    }

    @Override
    public void close() throws IOException {
      in.close();
    }
  }
}
