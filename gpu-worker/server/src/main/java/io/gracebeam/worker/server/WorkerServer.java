package io.gracebeam.worker.server;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.grpc.Server;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioServerSocketChannel;
import io.grpc.protobuf.services.HealthStatusManager;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A worker: the services over gRPC and netty, with everything that they hold. Binds loopback unless
 * the settings say otherwise. Health has an entry "" for the worker and one per loaded model's
 * digest.
 */
public final class WorkerServer implements EmbeddedWorker {
  private static final int HANDLERS = 4;

  private final WorkerSettings settings;
  private final WorkMethods methods;
  private final HealthStatusManager health = new HealthStatusManager();
  private final ModelCache models;
  private final Operations operations;
  private final Watchers watchers = new Watchers();
  private final Admission admission;
  private final ExecutorService handlers =
      Executors.newFixedThreadPool(HANDLERS, Threads.named("grace-call"));
  private final EventLoopGroup acceptor = new NioEventLoopGroup(1, Threads.named("grace-accept"));
  private final EventLoopGroup transport =
      new NioEventLoopGroup(2, Threads.named("grace-transport"));
  private final AtomicBoolean closed = new AtomicBoolean();
  private final Server server;

  private WorkerServer(
      WorkerSettings settings, WorkMethods methods, ServerInterceptor... interceptors) {
    this.settings = settings;
    this.methods = methods;
    References references = new References(settings.roots());
    Publisher publisher = new Publisher(references, settings.store(), methods.facts());
    models =
        new ModelCache(
            settings.models(),
            digest -> health.setStatus(digest, ServingStatus.SERVING),
            health::clearStatus);
    operations = new Operations(methods, references, publisher, settings.operationQueue());
    admission = new Admission(settings.inferenceThreads(), settings.inferenceQueue());
    WorkerService service =
        new WorkerService(
            methods,
            settings,
            operations,
            watchers,
            new Inference(methods, references, publisher, models),
            admission);
    server =
        NettyServerBuilder.forAddress(new InetSocketAddress(settings.host(), settings.port()))
            .channelType(NioServerSocketChannel.class)
            .bossEventLoopGroup(acceptor)
            .workerEventLoopGroup(transport)
            .executor(handlers)
            .maxInboundMessageSize(settings.maxInboundBytes())
            .maxConcurrentCallsPerConnection(settings.maxConcurrentCalls())
            .keepAliveTime(settings.keepAlive().toMillis(), TimeUnit.MILLISECONDS)
            .keepAliveTimeout(20, TimeUnit.SECONDS)
            .permitKeepAliveTime(settings.keepAlive().toMillis() / 2, TimeUnit.MILLISECONDS)
            .permitKeepAliveWithoutCalls(false)
            .handshakeTimeout(10, TimeUnit.SECONDS)
            .maxRstFramesPerWindow(200, 30)
            .addService(ServerInterceptors.intercept(service, interceptors))
            .addService(health.getHealthService())
            .build();
  }

  /**
   * Starts a worker and owns {@code methods}, also when the start fails.
   *
   * @param interceptors see every call of the worker service; for tests
   * @throws GraceException (environment) if the address cannot be bound
   */
  public static WorkerServer start(
      WorkerSettings settings, WorkMethods methods, ServerInterceptor... interceptors) {
    WorkerServer worker = new WorkerServer(settings, methods, interceptors);
    try {
      worker.server.start();
    } catch (IOException e) {
      worker.close();
      Throwable reason = e.getCause() == null ? e : e.getCause();
      throw GraceException.environment(
              "worker: cannot listen on %s:%d: %s; allowed: a free port of this machine",
              settings.host(), settings.port(), Lines.oneLine(reason.getMessage()))
          .withCause(e);
    }
    worker.health.setStatus("", ServingStatus.SERVING);
    return worker;
  }

  /** Port that the worker listens on. */
  @Override
  public int port() {
    return server.getPort();
  }

  /** Waits until the worker has been closed. */
  public void join() throws InterruptedException {
    server.awaitTermination();
  }

  /**
   * Ends at once, as far as clients can see: connections break in the middle of their calls. For
   * tests of clients.
   */
  public void crash() {
    server.shutdownNow();
    close(Duration.ZERO);
  }

  /**
   * Drains and stops: health says NOT_SERVING, no new calls, operations are canceled, calls get the
   * settings' grace to end. A second call does nothing.
   */
  @Override
  public void close() {
    close(settings.grace());
  }

  private void close(Duration grace) {
    if (!closed.compareAndSet(false, true)) {
      return;
    }
    health.enterTerminalState();
    long end = System.nanoTime() + grace.toNanos();
    // Operations first: their watchers see the final state while the transport still lives.
    boolean idle = operations.stop(grace);
    server.shutdown();
    idle &= admission.stop(left(end));
    try {
      if (!server.awaitTermination(Math.min(left(end).toMillis(), 1000), TimeUnit.MILLISECONDS)) {
        server.shutdownNow().awaitTermination(1, TimeUnit.SECONDS);
      }
    } catch (InterruptedException e) {
      server.shutdownNow();
      Thread.currentThread().interrupt();
    }
    operations.close();
    admission.close();
    watchers.close();
    handlers.shutdown();
    acceptor.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    transport.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    if (idle) { // work that did not stop still uses models and engine; freeing them would crash the
      // process
      models.close();
      methods.close();
    }
  }

  private static Duration left(long end) {
    return Duration.ofNanos(Math.max(0, end - System.nanoTime()));
  }
}
