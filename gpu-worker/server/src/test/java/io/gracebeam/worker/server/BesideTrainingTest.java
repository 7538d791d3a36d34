package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.common.collect.ImmutableList;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Operation.State;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What one worker does at a time: training operations one after another, answers and signals beside
 * them. Real engine, real connection; nothing of it leaves a trace in a bit.
 */
@Timeout(240)
class BesideTrainingTest {
  private static final int STEPS = 6;
  private static final int MANY_STEPS = 100;

  @TempDir Path folder;

  /** What a worker of its own gave, one request after another. */
  private record Alone(
      ArtifactRef dataset,
      ArtifactRef model,
      ArtifactRef signals,
      ArtifactRef packed,
      Inferred inferred) {}

  /** Everything that inference answered. */
  private record Inferred(
      String signals,
      List<ExampleSignal> examples,
      List<GenerateResponse> dense,
      List<GenerateResponse> packed) {}

  @ParameterizedTest
  @ValueSource(strings = {"float32", "bfloat16"})
  void trainingOperationsRunOneAfterAnotherAndGiveWhatTheyGiveAlone(String compute)
      throws IOException {
    TinyWork tiny = new TinyWork(folder);
    OperationRequest first;
    OperationRequest second;
    String firstAlone;
    String secondAlone;
    try (Client client = new Client(compute)) {
      Alone alone = alone(client, tiny);
      first = training(tiny, alone, "first", STEPS);
      second =
          training(tiny, alone, "second", STEPS).toBuilder()
              .setSeed(6) // another order of examples
              .build();
      firstAlone = TinyWork.run(client.stub, first).getSha256();
      secondAlone = TinyWork.run(client.stub, second).getSha256();
      assertThat(firstAlone).isNotEqualTo(secondAlone);
    }
    try (Client client = new Client(compute)) {
      client.methods.hold();
      String store = Artifacts.uri(folder.resolve("fresh")).toString();
      client.stub.submit(first.toBuilder().setStore(store).build());
      client.methods.awaitStep();
      assertThat(client.stub.submit(second.toBuilder().setStore(store).build()).getState())
          .isEqualTo(State.QUEUED);
      client.methods.go();
      var one = TinyWork.last(client.stub, "first");
      var two = TinyWork.last(client.stub, "second");
      assertThat(one.getResult().getArtifact().getSha256()).isEqualTo(firstAlone);
      assertThat(two.getResult().getArtifact().getSha256()).isEqualTo(secondAlone);
      assertThat(client.methods.operations.get()).isEqualTo(2);
      assertThat(client.methods.mostAtOnce.get()).isEqualTo(1);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"float32", "bfloat16"})
  void inferenceBesideTrainingChangesNeither(String compute) throws IOException {
    TinyWork tiny = new TinyWork(folder);
    Alone alone;
    OperationRequest train;
    String trainedAlone;
    try (Client client = new Client(compute)) {
      alone = alone(client, tiny);
      train = training(tiny, alone, "train", MANY_STEPS);
      trainedAlone = TinyWork.run(client.stub, train).getSha256();
    }
    try (Client client = new Client(compute)) {
      client.methods.hold();
      client.stub.submit(train.toBuilder().setId("beside").build());
      client.methods.awaitStep();
      client.methods.go();
      int rounds = 0;
      for (boolean running = true; running; ) {
        Inferred beside =
            infer(client, tiny, alone, "extract-beside-" + rounds, alone.model(), alone.packed());
        running = client.methods.running.get() == 1;
        assertThat(beside).isEqualTo(alone.inferred());
        rounds += running ? 1 : 0;
      }
      assertThat(rounds).as("rounds of inference while training ran").isPositive();
      assertThat(TinyWork.last(client.stub, "beside").getResult().getArtifact().getSha256())
          .isEqualTo(trainedAlone);
    }
  }

  private static OperationRequest training(TinyWork tiny, Alone alone, String id, int steps) {
    return tiny.train(
        id,
        alone.model(),
        alone.dataset(),
        alone.signals(),
        TinyWork.training(steps).toBuilder().setTrainVision(true).build());
  }

  private static Alone alone(Client client, TinyWork tiny) throws IOException {
    ArtifactRef dataset = tiny.dataset();
    ArtifactRef model =
        TinyWork.run(client.stub, tiny.prepare("prepare", dataset, TinyWork.shape()));
    ArtifactRef signals =
        client
            .extract(tiny.extract("extract", model, dataset))
            .getLast()
            .getArtifact()
            .getArtifact();
    OperationRequest train = tiny.train("few", model, dataset, signals, TinyWork.training(STEPS));
    ArtifactRef packed =
        TinyWork.run(client.stub, tiny.export("export", TinyWork.run(client.stub, train)));
    Alone without = new Alone(dataset, model, signals, packed, null);
    Inferred inferred = infer(client, tiny, without, "extract-alone", model, packed);
    return new Alone(dataset, model, signals, packed, inferred);
  }

  /** Signals of all examples, answers and scores of a dense and of a packed model. */
  private static Inferred infer(
      Client client, TinyWork tiny, Alone alone, String id, ArtifactRef model, ArtifactRef packed) {
    List<ExtractResponse> signals = client.extract(tiny.extract(id, model, alone.dataset()));
    return new Inferred(
        signals.getLast().getArtifact().getArtifact().getSha256(),
        signals.stream().limit(TinyWork.EXAMPLES).map(ExtractResponse::getExample).toList(),
        client.generate(tiny, model),
        client.generate(tiny, packed));
  }

  /** A worker of its own and a connection to it. */
  private static final class Client implements AutoCloseable {
    final Watched methods;
    final WorkerServer server;
    final ManagedChannel channel;
    final WorkerGrpc.WorkerBlockingStub stub;

    Client(String compute) {
      methods = new Watched(new GraceMethods(TinyWork.engine().setCompute(compute).build()));
      server = WorkerServer.start(WorkerSettings.defaults(), methods);
      channel = NettyChannelBuilder.forAddress("127.0.0.1", server.port()).usePlaintext().build();
      stub = WorkerGrpc.newBlockingStub(channel);
    }

    List<ExtractResponse> extract(ExtractRequest request) {
      return ImmutableList.copyOf(stub.withDeadlineAfter(60, TimeUnit.SECONDS).extract(request));
    }

    List<GenerateResponse> generate(TinyWork tiny, ArtifactRef model) {
      return ImmutableList.copyOf(
          stub.withDeadlineAfter(60, TimeUnit.SECONDS).generate(tiny.ask("ask", model)));
    }

    @Override
    public void close() {
      channel.shutdownNow();
      server.close();
    }
  }

  /** Counts operations that run, and can hold one at its first step. */
  private static final class Watched implements WorkMethods {
    final AtomicInteger operations = new AtomicInteger();
    final AtomicInteger running = new AtomicInteger();
    final AtomicInteger mostAtOnce = new AtomicInteger();
    private final WorkMethods methods;
    private final CountDownLatch step = new CountDownLatch(1);
    private volatile CountDownLatch gate = new CountDownLatch(0);

    Watched(WorkMethods methods) {
      this.methods = methods;
    }

    void hold() {
      gate = new CountDownLatch(1);
    }

    void awaitStep() {
      await(step);
    }

    void go() {
      gate.countDown();
    }

    private static void await(CountDownLatch latch) {
      try {
        assertThat(latch.await(60, TimeUnit.SECONDS)).isTrue();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    @Override
    public Map<String, Double> run(
        OperationRequest request, SortedMap<String, Path> inputs, Path out, Progress progress) {
      operations.incrementAndGet();
      int now = running.incrementAndGet();
      mostAtOnce.accumulateAndGet(now, Math::max);
      try {
        return methods.run(
            request,
            inputs,
            out,
            new Progress() {
              @Override
              public void report(double fraction, String what) {
                step.countDown();
                await(gate);
                progress.report(fraction, what);
              }

              @Override
              public boolean canceled() {
                return progress.canceled();
              }
            });
      } finally {
        running.decrementAndGet();
      }
    }

    @Override
    public EngineFacts facts() {
      return methods.facts();
    }

    @Override
    public List<String> capabilities() {
      return methods.capabilities();
    }

    @Override
    public LoadedModel load(Path folder) {
      return methods.load(folder);
    }

    @Override
    public Map<String, Double> extract(
        LoadedModel teacher,
        ExtractRequest request,
        Path dataset,
        Path out,
        Consumer<ExampleSignal> sink,
        Progress progress) {
      return methods.extract(teacher, request, dataset, out, sink, progress);
    }

    @Override
    public void close() {
      methods.close();
    }
  }
}
