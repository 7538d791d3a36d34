package io.gracebeam.transforms.client;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.error.Statuses;
import io.gracebeam.proto.v1.HandshakeRequest;
import io.gracebeam.proto.v1.HandshakeResponse;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.time.Duration;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * One worker: its channel, the bound on calls in flight, and who it said it is. Shared by all
 * clients of the JVM.
 */
final class WorkerChannel {
  private static final int MAX_MESSAGE_BYTES = 64 << 20;

  /** Guarded by the registry's compute. */
  int references;

  private final String endpoint;
  private final ManagedChannel channel;
  private final Semaphore permits;
  private @Nullable HandshakeResponse handshake;

  WorkerChannel(String endpoint, int maxInFlight) {
    this.endpoint = endpoint;
    this.permits = new Semaphore(maxInFlight, true);
    this.channel =
        NettyChannelBuilder.forTarget(endpoint)
            .usePlaintext()
            .maxInboundMessageSize(MAX_MESSAGE_BYTES)
            .build();
  }

  String endpoint() {
    return endpoint;
  }

  Semaphore permits() {
    return permits;
  }

  WorkerGrpc.WorkerBlockingStub stub(Duration deadline) {
    return WorkerGrpc.newBlockingStub(channel)
        .withDeadlineAfter(deadline.toMillis(), TimeUnit.MILLISECONDS);
  }

  /**
   * Who the worker is; asked once, and again after the connection was lost.
   *
   * @throws GraceException (worker) if it is of another build or refuses
   * @throws StatusRuntimeException if it does not answer
   */
  synchronized HandshakeResponse handshake(String build, Duration deadline) {
    if (handshake == null) {
      HandshakeResponse answer;
      try {
        answer = stub(deadline).handshake(HandshakeRequest.newBuilder().setBuild(build).build());
      } catch (StatusRuntimeException e) {
        if (Statuses.of(e.getStatus().getCode()) == Statuses.Action.RETRY) {
          throw e;
        }
        throw GraceException.worker("worker %s refused the handshake: %s", endpoint, Lines.of(e))
            .withCause(e);
      }
      handshake = answer;
    }
    if (!handshake.getBuild().equals(build)) {
      String other = handshake.getBuild();
      handshake = null;
      throw GraceException.worker(
          "worker %s is of build %s, this pipeline is build %s; start a worker of the same build",
          endpoint, other, build);
    }
    return handshake;
  }

  /** After a lost connection another process may answer: ask again who it is. */
  synchronized void forgetHandshake() {
    handshake = null;
  }

  void shutdown() {
    channel.shutdownNow();
  }
}
