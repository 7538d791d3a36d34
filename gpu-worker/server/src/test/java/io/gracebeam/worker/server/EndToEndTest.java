package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.common.collect.ImmutableList;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Controller;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.proto.worker.EmbeddedWorkerProvider;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The whole way on the tensor engine, through the embedded worker: prepare, extract, train, export,
 * generate.
 */
@Timeout(180)
class EndToEndTest {
  private static final int EXAMPLES = 8;
  private static final String[] COLOURS = {"red", "blue"};

  @TempDir Path folder;

  @Test
  void aTinyStudentIsMadeDistilledPackedAndAsked() throws IOException {
    ArtifactRef dataset = dataset();
    EmbeddedWorkerProvider provider = EmbeddedWorkerProvider.find().orElseThrow();
    assertThat(provider).isInstanceOf(EmbeddedWorkers.class);
    try (EmbeddedWorker worker =
        provider.start(EngineSettings.newBuilder().setThreads(1).build())) {
      ManagedChannel channel =
          NettyChannelBuilder.forAddress("127.0.0.1", worker.port()).usePlaintext().build();
      try {
        loop(WorkerGrpc.newBlockingStub(channel), dataset);
      } finally {
        channel.shutdownNow();
      }
    }
  }

  private void loop(WorkerGrpc.WorkerBlockingStub stub, ArtifactRef dataset) {
    ArtifactRef model =
        run(
            stub,
            operation("prepare")
                .putInputs("dataset", dataset)
                .setPrepare(
                    PrepareWork.newBuilder()
                        .setShape(shape())
                        .setTower(training(2))
                        .setInstruction(training(2)))
                .build());

    List<ExtractResponse> signals =
        ImmutableList.copyOf(
            stub.withDeadlineAfter(60, TimeUnit.SECONDS)
                .extract(
                    ExtractRequest.newBuilder()
                        .setId("extract")
                        .setStore(store())
                        .setTeacher(model)
                        .setDataset(dataset)
                        .setCount(EXAMPLES)
                        .setTemperature(2)
                        .setCache(TeacherCache.newBuilder().setForm("full").setGram("bf16"))
                        .build()));
    assertThat(signals).hasSize(EXAMPLES + 1);
    assertThat(signals.get(3).getExample().getError()).contains("3.png");
    assertThat(signals.get(0).getExample().getTokensCount()).isPositive();
    assertThat(signals.get(0).getExample().getTokens(0).getTargetLogProb()).isNegative();

    Variant grace =
        Variants.resolve(
            Variants.get("grace-int4"),
            Quantization.newBuilder().setBits(4).setGroupSize(16).build());
    OperationRequest train =
        operation("train")
            .putInputs("student", model)
            .putInputs("dataset", dataset)
            .putInputs("signals", signals.getLast().getArtifact().getArtifact())
            .setTrain(
                TrainWork.newBuilder()
                    .setTraining(training(3))
                    .setGrace(grace())
                    .setVariant(grace)
                    .setShards(1)
                    .setRounds(1))
            .build();
    ArtifactRef trained = run(stub, train);
    ArtifactRef packed =
        run(
            stub,
            operation("export")
                .putInputs("trained", trained)
                .setExport(
                    ExportWork.newBuilder()
                        .setFormat("pack-quantized")
                        .setVariant(grace)
                        .setScales("trained"))
                .build());

    GenerateRequest ask =
        GenerateRequest.newBuilder()
            .setId("ask")
            .setModel(packed)
            .setMaxNewTokens(4)
            .setBatch(3)
            .addQuestions(question("good-1", 0))
            .addQuestions(question("bad", 3))
            .addQuestions(question("good-2", 1))
            .build();
    List<GenerateResponse> answers =
        ImmutableList.copyOf(stub.withDeadlineAfter(60, TimeUnit.SECONDS).generate(ask));
    assertThat(answers)
        .extracting(GenerateResponse::getId)
        .containsExactly("good-1", "bad", "good-2");
    assertThat(answers.get(0).getTokenIdsCount()).isBetween(1, 4);
    assertThat(answers.get(0).getChoiceLogProbsList()).hasSize(2).allMatch(score -> score < 0);
    assertThat(answers.get(1).getError()).contains("3.png");
    assertThat(answers.get(2).getError()).isEmpty();

    // The same work under another id gives the same bytes.
    assertThat(run(stub, train.toBuilder().setId("train-again").build()).getSha256())
        .isEqualTo(trained.getSha256());
  }

  private ArtifactRef run(WorkerGrpc.WorkerBlockingStub stub, OperationRequest request) {
    stub.withDeadlineAfter(20, TimeUnit.SECONDS).submit(request);
    Operation last = Operation.getDefaultInstance();
    var watch =
        stub.withDeadlineAfter(100, TimeUnit.SECONDS)
            .watch(WatchRequest.newBuilder().setId(request.getId()).build());
    while (watch.hasNext()) {
      last = watch.next();
    }
    assertThat(last.getState())
        .as(last.getErrorCategory() + ": " + last.getMessage())
        .isEqualTo(Operation.State.SUCCEEDED);
    return last.getResult().getArtifact();
  }

  private String store() {
    return folder.resolve("store").toString();
  }

  private OperationRequest.Builder operation(String id) {
    return OperationRequest.newBuilder().setId(id).setStore(store()).setSeed(5);
  }

  private Question question(String id, int image) {
    return Question.newBuilder()
        .setId(id)
        .setImage(folder.resolve("dataset/images/" + image + ".png").toString())
        .setPrompt("what colour ?")
        .addChoices("red")
        .addChoices("blue")
        .build();
  }

  private static ModelShape shape() {
    return ModelShape.newBuilder()
        .setImageSize(16)
        .setPatchSize(8)
        .setVisionWidth(16)
        .setVisionLayers(2)
        .setVisionHeads(2)
        .setVisionMlp(32)
        .setWidth(32)
        .setLayers(2)
        .setHeads(2)
        .setKvHeads(2)
        .setMlp(64)
        .build();
  }

  private static Training training(int steps) {
    return Training.newBuilder()
        .setSteps(steps)
        .setBatchExamples(4)
        .setMicroBatchExamples(2)
        .setLearningRate(1e-3)
        .setBeta1(0.9)
        .setBeta2(0.999)
        .setClipNorm(1)
        .setWarmupFraction(0.1)
        .setScaleRateFactor(1)
        .build();
  }

  private static Grace grace() {
    return Grace.newBuilder()
        .setTemperature(2)
        .setAlpha(1)
        .setBetaDkd(2)
        .setOmega(0.5)
        .setRckaWarmupSteps(1)
        .setController(
            Controller.newBuilder()
                .setTau(0.5)
                .setEta(0.01)
                .setBetaInit(0.5)
                .setBetaMin(0.05)
                .setBetaMax(2)
                .setEmaDecay(0.9))
        .build();
  }

  /** Eight one-colour images, of which number 3 is truncated. */
  private ArtifactRef dataset() throws IOException {
    Path root = folder.resolve("dataset");
    Path images = Files.createDirectories(root.resolve("images"));
    StringBuilder json = new StringBuilder();
    for (int i = 0; i < EXAMPLES; i++) {
      String colour = COLOURS[i % 2];
      BufferedImage image = new BufferedImage(16, 16, BufferedImage.TYPE_INT_RGB);
      for (int p = 0; p < 256; p++) {
        image.setRGB(p % 16, p / 16, (i % 2 == 0 ? 0xC00000 : 0x0000C0) + i);
      }
      Path file = images.resolve(i + ".png");
      ImageIO.write(image, "png", file.toFile());
      if (i == 3) {
        byte[] whole = Files.readAllBytes(file);
        Files.write(file, java.util.Arrays.copyOf(whole, whole.length / 2));
      }
      json.append(json.isEmpty() ? "[" : ",")
          .append(
              """
              {"id":"e%d","image":"images/%d.png","types":["open"],"cells":["%s"],"conversations":[
              {"from":"human","value":"<image>\\nwhat colour ?"},{"from":"gpt","value":"%s"}]}"""
                  .formatted(i, i, colour, colour));
    }
    Files.writeString(root.resolve("train.json"), json.append("]"));
    Files.writeString(root.resolve("classes.json"), "[\"red\",\"blue\"]");
    return ArtifactRef.newBuilder()
        .setKind("dataset")
        .setUri(root.toString())
        .setSha256(Digests.sha256(root))
        .build();
  }
}
