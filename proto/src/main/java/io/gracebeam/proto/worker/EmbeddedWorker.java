package io.gracebeam.proto.worker;

/** A worker inside this process, reached over gRPC on the loopback address like any other. */
public interface EmbeddedWorker extends AutoCloseable {
  /** TCP port on the loopback address, 1 to 65535. */
  int port();

  /**
   * Stops the worker and frees its engine; running operations are canceled. A second call does
   * nothing.
   */
  @Override
  void close();
}
