package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.common.collect.ImmutableList;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.proto.worker.EmbeddedWorkerProvider;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The whole way on the tensor engine, through the embedded worker: prepare, extract, train, export,
 * generate.
 */
@Timeout(180)
class EndToEndTest {
  @TempDir Path folder;

  @Test
  void aTinyStudentIsMadeDistilledPackedAndAsked() throws IOException {
    TinyWork tiny = new TinyWork(folder);
    ArtifactRef dataset = tiny.dataset();
    EmbeddedWorkerProvider provider = EmbeddedWorkerProvider.find().orElseThrow();
    assertThat(provider).isInstanceOf(EmbeddedWorkers.class);
    try (EmbeddedWorker worker = provider.start(TinyWork.engine().build())) {
      ManagedChannel channel =
          NettyChannelBuilder.forAddress("127.0.0.1", worker.port()).usePlaintext().build();
      try {
        loop(WorkerGrpc.newBlockingStub(channel), tiny, dataset);
      } finally {
        channel.shutdownNow();
      }
    }
  }

  private static void loop(WorkerGrpc.WorkerBlockingStub stub, TinyWork tiny, ArtifactRef dataset) {
    ArtifactRef model = TinyWork.run(stub, tiny.prepare("prepare", dataset, TinyWork.shape()));

    List<ExtractResponse> signals =
        ImmutableList.copyOf(
            stub.withDeadlineAfter(60, TimeUnit.SECONDS)
                .extract(tiny.extract("extract", model, dataset)));
    assertThat(signals).hasSize(TinyWork.EXAMPLES + 1);
    assertThat(signals.get(TinyWork.BAD).getExample().getError()).contains("3.png");
    assertThat(signals.get(0).getExample().getTokensCount()).isPositive();
    assertThat(signals.get(0).getExample().getTokens(0).getTargetLogProb()).isNegative();

    OperationRequest train =
        tiny.train(
            "train",
            model,
            dataset,
            signals.getLast().getArtifact().getArtifact(),
            TinyWork.training(3));
    ArtifactRef trained = TinyWork.run(stub, train);
    ArtifactRef packed = TinyWork.run(stub, tiny.export("export", trained));

    List<GenerateResponse> answers =
        ImmutableList.copyOf(
            stub.withDeadlineAfter(60, TimeUnit.SECONDS).generate(tiny.ask("ask", packed)));
    assertThat(answers)
        .extracting(GenerateResponse::getId)
        .containsExactly("good-1", "bad", "good-2");
    assertThat(answers.get(0).getTokenIdsCount()).isBetween(1, 4);
    assertThat(answers.get(0).getChoiceLogProbsList()).hasSize(2).allMatch(score -> score < 0);
    assertThat(answers.get(1).getError()).contains("3.png");
    assertThat(answers.get(2).getError()).isEmpty();

    // The same work under another id gives the same bytes.
    assertThat(TinyWork.run(stub, train.toBuilder().setId("train-again").build()).getSha256())
        .isEqualTo(trained.getSha256());
  }
}
