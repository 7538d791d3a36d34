package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.protobuf.Any;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Controller;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
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
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;

/** Requests for a model so small that the engine does each in a moment. */
final class TinyWork {
  static final int EXAMPLES = 8;

  /** Of this number the dataset's image is truncated. */
  static final int BAD = 3;

  private static final String[] COLORS = {"red", "blue"};

  private final Path folder;

  TinyWork(Path folder) {
    this.folder = folder;
  }

  /** The engine of all tests in this process, which can have one number of threads. */
  static EngineSettings.Builder engine() {
    return EngineSettings.newBuilder().setThreads(2);
  }

  String store() {
    return Artifacts.uri(folder.resolve("store")).toString();
  }

  OperationRequest prepare(String id, ArtifactRef dataset, ModelShape shape) {
    return operation(id)
        .putInputs("dataset", dataset)
        .setStage("prepare")
        .setWork(
            Any.pack(
                PrepareWork.newBuilder()
                    .setShape(shape)
                    .setTower(training(2))
                    .setInstruction(training(2))
                    .build()))
        .build();
  }

  OperationRequest train(
      String id, ArtifactRef model, ArtifactRef dataset, ArtifactRef signals, Training training) {
    return operation(id)
        .putInputs("student", model)
        .putInputs("dataset", dataset)
        .putInputs("signals", signals)
        .setStage("train")
        .setWork(
            Any.pack(
                TrainWork.newBuilder()
                    .setTraining(training)
                    .setGrace(grace())
                    .setVariant(variant())
                    .setShards(1)
                    .setRounds(1)
                    .build()))
        .build();
  }

  OperationRequest export(String id, ArtifactRef trained) {
    return operation(id)
        .putInputs("trained", trained)
        .setStage("export")
        .setWork(
            Any.pack(
                ExportWork.newBuilder()
                    .setFormat("pack-quantized")
                    .setVariant(variant())
                    .setScales("trained")
                    .build()))
        .build();
  }

  ExtractRequest extract(String id, ArtifactRef teacher, ArtifactRef dataset) {
    return ExtractRequest.newBuilder()
        .setId(id)
        .setStore(store())
        .setTeacher(teacher)
        .setDataset(dataset)
        .setCount(EXAMPLES)
        .setTemperature(2)
        .setCache(TeacherCache.newBuilder().setForm("full").setGram("bf16"))
        .build();
  }

  /** Two good questions with choices to score, and a bad one between them. */
  GenerateRequest ask(String id, ArtifactRef model) {
    return GenerateRequest.newBuilder()
        .setId(id)
        .setModel(model)
        .setImages(Artifacts.given("images", folder.resolve("dataset/images")))
        .setMaxNewTokens(4)
        .setBatch(3)
        .addQuestions(question("good-1", 0))
        .addQuestions(question("bad", BAD))
        .addQuestions(question("good-2", 1))
        .build();
  }

  /** Submits an operation, waits for it and gives what it published. */
  static ArtifactRef run(WorkerGrpc.WorkerBlockingStub stub, OperationRequest request) {
    stub.withDeadlineAfter(20, TimeUnit.SECONDS).submit(request);
    Operation last = last(stub, request.getId());
    assertThat(last.getState())
        .as(last.getErrorCategory() + ": " + last.getMessage())
        .isEqualTo(Operation.State.SUCCEEDED);
    return last.getResult().getArtifact();
  }

  /** Waits for an operation; how it ended. */
  static Operation last(WorkerGrpc.WorkerBlockingStub stub, String id) {
    Operation last = Operation.getDefaultInstance();
    var watch =
        stub.withDeadlineAfter(100, TimeUnit.SECONDS)
            .watch(WatchRequest.newBuilder().setId(id).build());
    while (watch.hasNext()) {
      last = watch.next();
    }
    return last;
  }

  private OperationRequest.Builder operation(String id) {
    return OperationRequest.newBuilder().setId(id).setStore(store()).setSeed(5);
  }

  private Question question(String id, int image) {
    return Question.newBuilder()
        .setId(id)
        .addImages(image + ".png")
        .setPrompt("what color ?")
        .addChoices("red")
        .addChoices("blue")
        .build();
  }

  private static Variant variant() {
    return Variants.resolve(
        Variants.preset("grace-int4"),
        Quantization.newBuilder().setBits(4).setGroupSize(16).build());
  }

  static ModelShape shape() {
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

  static Training training(int steps) {
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

  /** One-color images, one of them truncated, and a question about each. */
  ArtifactRef dataset() throws IOException {
    Path root = folder.resolve("dataset");
    Path images = Files.createDirectories(root.resolve("images"));
    StringBuilder json = new StringBuilder();
    for (int i = 0; i < EXAMPLES; i++) {
      String color = COLORS[i % 2];
      BufferedImage image = new BufferedImage(16, 16, BufferedImage.TYPE_INT_RGB);
      for (int p = 0; p < 256; p++) {
        image.setRGB(p % 16, p / 16, (i % 2 == 0 ? 0xC00000 : 0x0000C0) + i);
      }
      Path file = images.resolve(i + ".png");
      ImageIO.write(image, "png", file.toFile());
      if (i == BAD) {
        byte[] whole = Files.readAllBytes(file);
        Files.write(file, Arrays.copyOf(whole, whole.length / 2));
      }
      json.append(json.isEmpty() ? "[" : ",")
          .append(
              """
              {"id":"e%d","image":"images/%d.png","types":["open"],"cells":["%s"],"conversations":[
              {"from":"human","value":"<image>\\nwhat color ?"},{"from":"gpt","value":"%s"}]}\
              """
                  .formatted(i, i, color, color));
    }
    Files.writeString(root.resolve("train.json"), json.append("]"));
    Files.writeString(root.resolve("classes.json"), "[\"red\",\"blue\"]");
    return Artifacts.given("dataset", root);
  }
}
