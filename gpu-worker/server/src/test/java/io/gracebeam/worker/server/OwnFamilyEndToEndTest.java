package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.common.collect.ImmutableList;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.proto.worker.EmbeddedWorkerProvider;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.training.Curves;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The whole way of a family that only the tests have, through the embedded worker: examples with no
 * image, one, and two of different sizes.
 */
@Timeout(180)
class OwnFamilyEndToEndTest {
  private static final int TILE = 4;

  /** Columns and rows of tiles of each example's images. */
  private static final int[][][] IMAGES = {
    {{2, 2}}, {}, {{3, 2}, {2, 4}}, {{1, 2}}, {{2, 2}}, {{3, 3}, {1, 1}}, {}, {{4, 2}}
  };

  @TempDir Path folder;

  @Test
  void aFamilyIsAnAddition() throws IOException {
    TinyWork tiny = new TinyWork(folder);
    ArtifactRef dataset = dataset();
    try (EmbeddedWorker worker =
        EmbeddedWorkerProvider.find().orElseThrow().start(TinyWork.engine().build())) {
      ManagedChannel channel =
          NettyChannelBuilder.forAddress("127.0.0.1", worker.port()).usePlaintext().build();
      try {
        loop(WorkerGrpc.newBlockingStub(channel), tiny, dataset);
      } finally {
        channel.shutdownNow();
      }
    }
  }

  private void loop(WorkerGrpc.WorkerBlockingStub stub, TinyWork tiny, ArtifactRef dataset)
      throws IOException {
    ArtifactRef model = TinyWork.run(stub, prepare(tiny, "prepare", dataset, "mosaic"));
    assertThat(Files.readString(path(model).resolve("config.json"))).contains("\"mosaic\"");

    List<ExtractResponse> signals =
        ImmutableList.copyOf(
            stub.withDeadlineAfter(60, TimeUnit.SECONDS)
                .extract(tiny.extract("extract", model, dataset)));
    assertThat(signals).hasSize(IMAGES.length + 1);
    ArtifactRef unit = signals.getLast().getArtifact().getArtifact();
    SignalReader reader = SignalReader.open(path(unit));
    for (int i = 0; i < IMAGES.length; i++) {
      assertThat(signals.get(i).getExample().getError()).isEmpty();
      assertThat(reader.get(i).visualTokens()).hasSize(IMAGES[i].length);
      for (int k = 0; k < IMAGES[i].length; k++) {
        int n = IMAGES[i][k][0] * IMAGES[i][k][1];
        assertThat(reader.get(i).visualTokens()[k]).isEqualTo(n);
        assertThat(reader.get(i).grams().get(k)).hasSize(n * n);
      }
    }

    ArtifactRef trained =
        TinyWork.run(stub, tiny.train("train", model, dataset, unit, TinyWork.training(3)));
    Curves curves = Curves.read(path(trained));
    assertThat(curves.rows()).hasSize(3);
    // Teacher and student begin as the same model but for quantization: the relations agree well,
    // not fully.
    assertThat(curves.rows()).allMatch(row -> row.get("rcka") > 0 && row.get("rcka") < 0.2);

    ArtifactRef packed = TinyWork.run(stub, tiny.export("export", trained));
    String config = Files.readString(path(packed).resolve("config.json"));
    assertThat(config).contains("pack-quantized").contains("\"mosaic\"").contains("bridge");
    for (ArtifactRef asked : List.of(packed, model)) {
      List<GenerateResponse> answers =
          ImmutableList.copyOf(stub.withDeadlineAfter(60, TimeUnit.SECONDS).generate(ask(asked)));
      assertThat(answers)
          .extracting(GenerateResponse::getId)
          .containsExactly("none", "one", "two", "wrong");
      for (GenerateResponse answer : answers.subList(0, 3)) {
        assertThat(answer.getError()).isEmpty();
        assertThat(answer.getTokenIdsCount()).isBetween(1, 4);
        assertThat(answer.getChoiceLogProbsList()).hasSize(2).allMatch(score -> score < 0);
      }
      assertThat(answers.get(3).getError()).contains("2 image placeholders for 1 images");
    }
    unknownFamily(stub, tiny, dataset);
  }

  private void unknownFamily(
      WorkerGrpc.WorkerBlockingStub stub, TinyWork tiny, ArtifactRef dataset) {
    OperationRequest request = prepare(tiny, "unknown", dataset, "fresco");
    stub.withDeadlineAfter(20, TimeUnit.SECONDS).submit(request);
    Operation last = TinyWork.last(stub, "unknown");
    assertThat(last.getState()).isEqualTo(Operation.State.FAILED);
    assertThat(last.getMessage()).contains("'fresco' is unknown; allowed: llava, mosaic");
  }

  private static OperationRequest prepare(
      TinyWork tiny, String id, ArtifactRef dataset, String family) {
    ModelShape shape =
        TinyWork.shape().toBuilder().setFamily(family).setPatchSize(TILE).setHeads(2).build();
    PrepareWork work =
        PrepareWork.newBuilder().setShape(shape).setInstruction(TinyWork.training(3)).build();
    OperationRequest base = tiny.prepare(id, dataset, shape);
    return base.toBuilder().setWork(com.google.protobuf.Any.pack(work)).build();
  }

  private GenerateRequest ask(ArtifactRef model) {
    Path images = folder.resolve("dataset/images");
    return GenerateRequest.newBuilder()
        .setId("ask-" + model.getSha256().substring(0, 8))
        .setModel(model)
        .setImages(Artifacts.given("images", images))
        .setMaxNewTokens(4)
        .setBatch(4)
        .addQuestions(question("none", "what color ?"))
        .addQuestions(question("one", "what color ?", "0-0.png"))
        .addQuestions(question("two", "<image> and <image> what color ?", "2-0.png", "2-1.png"))
        .addQuestions(question("wrong", "<image> and <image> what color ?", "0-0.png"))
        .build();
  }

  private static Question question(String id, String prompt, String... images) {
    return Question.newBuilder()
        .setId(id)
        .addAllImages(List.of(images))
        .setPrompt(prompt)
        .addChoices("red")
        .addChoices("blue")
        .build();
  }

  private static Path path(ArtifactRef artifact) {
    return Artifacts.fetch(artifact);
  }

  private ArtifactRef dataset() throws IOException {
    Path root = folder.resolve("dataset");
    Path images = Files.createDirectories(root.resolve("images"));
    List<String> examples = new ArrayList<>();
    for (int i = 0; i < IMAGES.length; i++) {
      List<String> names = new ArrayList<>();
      for (int k = 0; k < IMAGES[i].length; k++) {
        String name = i + "-" + k + ".png";
        image(images.resolve(name), IMAGES[i][k][0] * TILE, IMAGES[i][k][1] * TILE, i + k);
        names.add("\"images/" + name + "\"");
      }
      examples.add(
          """
          {"id":"e%d","image":[%s],"types":["open"],"conversations":[
          {"from":"human","value":"%s and what color ?"},{"from":"gpt","value":"%s"}]}\
          """
              .formatted(i, String.join(",", names), "<image>".repeat(names.size()), color(i % 2)));
    }
    Files.writeString(root.resolve("train.json"), "[" + String.join(",", examples) + "]");
    return Artifacts.given("dataset", root);
  }

  private static String color(int number) {
    return number == 0 ? "red" : "blue";
  }

  private static void image(Path file, int width, int height, int number) throws IOException {
    BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
    for (int p = 0; p < width * height; p++) {
      image.setRGB(p % width, p / width, (number % 2 == 0 ? 0xC00000 : 0x0000C0) + p * 37 % 64);
    }
    ImageIO.write(image, "png", file.toFile());
  }
}
