package io.gracebeam.transforms.client;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.HandshakeResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.WatchRequest;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * A live client of all workers. Thread-safe; every call blocks its caller and may be interrupted.
 *
 * <p>Requests carry attempt-free ids, so whatever is sent again (after a broken stream, a killed
 * worker, a passed deadline) finds the running or finished work, or starts it anew on another
 * worker with the same outcome.
 */
public final class WorkerPool implements AutoCloseable {
  private final Workers workers;
  private final List<WorkerChannel> channels;
  private final Failover failover;
  private @Nullable Engine engine;
  private String engineOf = "";
  private boolean closed;

  WorkerPool(Workers workers) {
    this.workers = workers;
    List<WorkerChannel> acquired = new ArrayList<>();
    for (String endpoint : workers.endpoints()) {
      acquired.add(WorkerChannels.acquire(endpoint, workers.maxInFlight()));
    }
    this.channels = List.copyOf(acquired);
    this.failover = new Failover(workers, channels, this::connect, Backoff.of(workers.backoff()));
  }

  /**
   * What the workers compute with; asks the first that answers.
   *
   * @throws GraceException (worker) if none answers or one is of another build, (environment) if
   *     two workers have different engines
   */
  public Engine engine() {
    synchronized (this) {
      if (engine != null) {
        return engine;
      }
    }
    failover.call("handshake", "", (worker, news) -> worker.endpoint());
    synchronized (this) {
      return engine;
    }
  }

  /**
   * Long work: submits, watches, and looks up or submits again whenever the stream breaks, until
   * the operation has ended.
   *
   * @throws GraceException of the category that the worker reports
   */
  public Completed run(OperationRequest request) {
    return failover.call(
        request.getStage(),
        request.getId(),
        (worker, news) -> {
          try {
            return follow(worker, request, news);
          } finally {
            Activity.end(request.getId());
          }
        });
  }

  private Completed follow(WorkerChannel worker, OperationRequest request, Runnable news) {
    Operation operation = worker.stub(workers.callDeadline()).submit(request);
    while (!ended(operation)) {
      try {
        Iterator<Operation> stream =
            worker
                .stub(workers.watchDeadline())
                .watch(WatchRequest.newBuilder().setId(request.getId()).build());
        while (!ended(operation) && stream.hasNext()) {
          operation = stream.next();
          Activity.update(operation);
          news.run();
        }
        if (!ended(operation)) {
          throw Status.UNAVAILABLE
              .withDescription("the stream ended before the operation did")
              .asRuntimeException();
        }
      } catch (StatusRuntimeException e) {
        switch (e.getStatus().getCode()) {
          case DEADLINE_EXCEEDED, NOT_FOUND -> {
            // Quiet for long, or a fresh process that knows nothing: submitting again tells which.
            operation = worker.stub(workers.callDeadline()).submit(request);
          }
          default -> throw e;
        }
      }
    }
    return switch (operation.getState()) {
      case SUCCEEDED ->
          new Completed(
              checked(operation.getResult(), request.getId(), worker),
              operation.getWorkerSeconds());
      case CANCELLED ->
          throw GraceException.worker(
              "worker %s: %s was canceled", worker.endpoint(), request.getId());
      default -> throw failed(operation, worker);
    };
  }

  private static boolean ended(Operation operation) {
    return switch (operation.getState()) {
      case SUCCEEDED, FAILED, CANCELLED -> true;
      default -> false;
    };
  }

  private static RuntimeException failed(Operation operation, WorkerChannel worker) {
    String line = operation.getMessage().replaceAll("\\s*\\R\\s*", " ");
    return switch (operation.getErrorCategory()) {
      case "user" -> GraceException.user("%s", line);
      case "data" -> GraceException.data("%s", line);
      case "environment" -> GraceException.environment("%s (worker %s)", line, worker.endpoint());
      case "worker" -> Status.UNAVAILABLE.withDescription(line).asRuntimeException();
      default -> GraceException.bug("%s (worker %s)", line, worker.endpoint());
    };
  }

  /**
   * Teacher signals of one unit.
   *
   * @throws GraceException of the category that the worker's status means
   */
  public Completed extract(ExtractRequest request) {
    return failover.call(
        "extract",
        request.getId(),
        (worker, news) -> {
          long start = System.nanoTime();
          Iterator<ExtractResponse> stream = worker.stub(workers.unitDeadline()).extract(request);
          Manifest artifact = null;
          long examples = 0;
          while (stream.hasNext()) {
            ExtractResponse response = stream.next();
            news.run();
            switch (response.getOfCase()) {
              case EXAMPLE -> examples++;
              case ARTIFACT -> artifact = response.getArtifact();
              default ->
                  throw GraceException.bug(
                      "worker %s: empty answer to extract %s", worker.endpoint(), request.getId());
            }
          }
          if (artifact == null) {
            throw Status.UNAVAILABLE
                .withDescription("the stream ended before the artifact came")
                .asRuntimeException();
          }
          if (examples != Integer.toUnsignedLong(request.getCount())) {
            throw GraceException.bug(
                "worker %s: %d of %d examples answered in extract %s",
                worker.endpoint(),
                examples,
                Integer.toUnsignedLong(request.getCount()),
                request.getId());
          }
          return new Completed(checked(artifact, request.getId(), worker), seconds(start));
        });
  }

  /**
   * Answers of one unit by question id.
   *
   * @return exactly one answer for each question
   * @throws GraceException of the category that the worker's status means; (bug) if ids do not pair
   */
  public SortedMap<String, GenerateResponse> generate(GenerateRequest request) {
    Set<String> asked = new HashSet<>();
    for (Question question : request.getQuestionsList()) {
      if (!asked.add(question.getId())) {
        throw GraceException.data(
            "unit %s: question id '%s' stands twice; ids must differ",
            request.getId(), question.getId());
      }
    }
    return failover.call(
        "generate",
        request.getId(),
        (worker, news) -> {
          SortedMap<String, GenerateResponse> answers = new TreeMap<>();
          Iterator<GenerateResponse> stream = worker.stub(workers.unitDeadline()).generate(request);
          while (stream.hasNext()) {
            GenerateResponse answer = stream.next();
            news.run();
            if (!asked.contains(answer.getId()) || answers.put(answer.getId(), answer) != null) {
              throw GraceException.bug(
                  "worker %s: question '%s' of unit %s was not asked or answered twice",
                  worker.endpoint(), answer.getId(), request.getId());
            }
          }
          if (answers.size() != asked.size()) {
            throw GraceException.bug(
                "worker %s: %d of %d questions answered in unit %s",
                worker.endpoint(), answers.size(), asked.size(), request.getId());
          }
          return answers;
        });
  }

  private static Manifest checked(Manifest manifest, String key, WorkerChannel worker) {
    if (!manifest.getStageKey().equals(key)) {
      throw GraceException.bug(
          "worker %s: answered %s with the artifact of stage key '%s'",
          worker.endpoint(), key, manifest.getStageKey());
    }
    return manifest;
  }

  private static double seconds(long start) {
    return (System.nanoTime() - start) / 1e9;
  }

  private void connect(WorkerChannel worker) {
    HandshakeResponse who = worker.handshake(workers.build(), workers.callDeadline());
    synchronized (this) {
      if (engine == null) {
        engine = new Engine(who.getEngine(), who.getEngineDigest(), who.getDevice());
        engineOf = worker.endpoint();
      } else if (!engine.digest().equals(who.getEngineDigest())) {
        throw GraceException.environment(
            "workers %s and %s compute with different engines (%s, %s); all workers of a run must"
                + " have the same",
            engineOf, worker.endpoint(), engine.description(), who.getEngine());
      }
    }
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      channels.forEach(WorkerChannels::release);
    }
  }
}
