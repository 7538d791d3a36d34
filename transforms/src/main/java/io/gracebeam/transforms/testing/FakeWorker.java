package io.gracebeam.transforms.testing;

import io.gracebeam.proto.worker.Builds;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.TimeUnit;

/**
 * A worker without an engine: a real gRPC server on the loopback interface whose artifacts are a
 * pure function of the request. It counts calls on its own side, since a pipeline's counters prove
 * nothing.
 */
public final class FakeWorker implements AutoCloseable {
  /** Engine digest of every fake worker unless another is given. */
  public static final String ENGINE_DIGEST = "fake-engine-1";

  private final FakeService service;
  private final Server server;

  private FakeWorker(FakeService service, Server server) {
    this.service = service;
    this.server = server;
  }

  /** A sound worker of this build. */
  public static FakeWorker start() {
    return start(Faults.none());
  }

  /** A faulty worker of this build. */
  public static FakeWorker start(Faults faults) {
    return start(faults, Builds.current(), ENGINE_DIGEST);
  }

  /** A worker of any build and engine. */
  public static FakeWorker start(Faults faults, String build, String engineDigest) {
    FakeService service = new FakeService(faults, build, engineDigest);
    try {
      Server server =
          NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
              .addService(service)
              .build()
              .start();
      service.onDeath(server::shutdownNow);
      return new FakeWorker(service, server);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** {@code host:port}. */
  public String endpoint() {
    return "127.0.0.1:" + server.getPort();
  }

  /** Calls of Submit, Extract and Generate that arrived. */
  public int calls() {
    return service.calls();
  }

  /** Pieces of work that were really done, each at most once per stage key and process. */
  public int executions() {
    return service.executions();
  }

  /** Handshakes that arrived. */
  public int handshakes() {
    return service.handshakes();
  }

  /** True until it died or was closed. */
  public boolean alive() {
    return !server.isShutdown();
  }

  @Override
  public void close() {
    server.shutdownNow();
    service.close();
    try {
      server.awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
