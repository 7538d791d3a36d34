package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.v1.Controller;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.imageio.ImageIO;

/** A dataset of colored squares and models of a few thousand weights, for tests. */
public final class TinyWorld {
  /** LibTorch, or what the system property grace.test.engine names: the build runs both. */
  public static final EngineHandle ENGINE =
      Engines.open(
          EngineSettings.newBuilder()
              .setName(System.getProperty("grace.test.engine", Engines.LIBTORCH))
              .setThreads(1)
              .setDevice("cpu")
              .setCompute("float32")
              .build());

  private static final String[] NAMES = {"red", "green", "blue"};
  private static final Color[] COLORS = {Color.RED, Color.GREEN, Color.BLUE};

  private TinyWorld() {}

  /** Writes a dataset of 2x2 grids, 32 x 32 pixels. */
  public static Path dataset(Path folder, int n) throws IOException {
    Files.createDirectories(folder.resolve("images"));
    StringBuilder json = new StringBuilder("[");
    for (int i = 0; i < n; i++) {
      BufferedImage image = new BufferedImage(32, 32, BufferedImage.TYPE_INT_RGB);
      Graphics2D g = image.createGraphics();
      int[] cells = new int[4];
      for (int c = 0; c < 4; c++) {
        cells[c] = (i * 7 + c * c + i / 3) % 3;
        g.setColor(COLORS[cells[c]]);
        g.fillRect(16 * (c % 2), 16 * (c / 2), 16, 16);
      }
      g.dispose();
      String name = "images/%06d.png".formatted(i);
      ImageIO.write(image, "png", folder.resolve(name).toFile());
      json.append(i > 0 ? ",\n" : "\n")
          .append("{\"id\":\"e%d\",\"image\":\"%s\",\"conversations\":[".formatted(i, name))
          .append(turn("human", "<image>\\nWhat is at the top left?"))
          .append(',')
          .append(turn("gpt", NAMES[cells[0]]))
          .append(',')
          .append(turn("human", "What is at the bottom right?"))
          .append(',')
          .append(turn("gpt", "a " + NAMES[cells[3]] + " square"))
          .append("],\"types\":[\"open\",\"long\"],\"cells\":[");
      for (int c = 0; c < 4; c++) {
        json.append(c > 0 ? "," : "").append('"').append(NAMES[cells[c]]).append('"');
      }
      json.append("]}");
    }
    Files.writeString(folder.resolve("train.json"), json.append("\n]\n").toString());
    Files.writeString(folder.resolve("classes.json"), "[\"red\",\"green\",\"blue\"]\n");
    return folder;
  }

  private static String turn(String from, String value) {
    return "{\"from\":\"%s\",\"value\":\"%s\"}".formatted(from, value);
  }

  /** Training settings. */
  public static Training.Builder training(int steps) {
    return Training.newBuilder()
        .setSteps(steps)
        .setBatchExamples(6)
        .setMicroBatchExamples(3)
        .setLearningRate(3e-3)
        .setWeightDecay(0.05)
        .setBeta1(0.9)
        .setBeta2(0.95)
        .setClipNorm(1)
        .setWarmupFraction(0.1)
        .setScaleRateFactor(10);
  }

  /** Work that makes a model of the given decoder width. */
  public static PrepareWork prepare(int width, int tower, int steps) {
    return PrepareWork.newBuilder()
        .setShape(
            ModelShape.newBuilder()
                .setImageSize(32)
                .setPatchSize(8)
                .setVisionWidth(16)
                .setVisionLayers(2)
                .setVisionHeads(2)
                .setVisionMlp(32)
                .setWidth(width)
                .setLayers(2)
                .setHeads(2)
                .setKvHeads(2)
                .setMlp(2 * width))
        .setTower(training(tower).setTrainVision(true))
        .setInstruction(training(steps).setTrainVision(true))
        .build();
  }

  /** Loss settings. */
  public static Grace grace() {
    return Grace.newBuilder()
        .setTemperature(2)
        .setAlpha(1)
        .setBetaDkd(4)
        .setOmega(1)
        .setRckaWarmupSteps(2)
        .setController(
            Controller.newBuilder()
                .setTau(3)
                .setEta(0.003)
                .setBetaInit(0.5)
                .setBetaMin(0.1)
                .setBetaMax(1)
                .setEmaDecay(0.99))
        .build();
  }

  /** Full GRACE at the given bits. */
  public static Variant variant(int bits, int group) {
    return Variant.newBuilder()
        .setName("grace")
        .setSource("train")
        .setQuantized(true)
        .setBits(bits)
        .setGroupSize(group)
        .setDistillation("dkd")
        .setGate(true)
        .setRcka(true)
        .setAdaptiveBeta(true)
        .build();
  }
}
