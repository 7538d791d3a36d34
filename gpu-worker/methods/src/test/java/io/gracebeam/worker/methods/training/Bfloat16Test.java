package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.Batch;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.TeacherExtractor;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Activations and gradients in bfloat16, masters in float32, against float32 throughout. */
class Bfloat16Test {
  private static final EngineHandle NARROW =
      Engines.open(
          EngineSettings.newBuilder()
              .setName(Engines.LIBTORCH)
              .setThreads(1)
              .setDevice("cpu")
              .setCompute("bfloat16")
              .build());

  @TempDir static Path root;
  private static Path data;
  private static Path wide;
  private static Path narrow;

  @BeforeAll
  static void prepare() throws IOException {
    data = TinyWorld.dataset(root.resolve("data"), 24);
    wide = prepare(TinyWorld.ENGINE, "wide");
    narrow = prepare(NARROW, "narrow");
  }

  private static Path prepare(EngineHandle engine, String name) {
    Path out = Files2.folder(root.resolve(name));
    Prepare.run(engine, TinyWorld.prepare(16, 20, 40), data, 3, out, Progress.NONE);
    return out;
  }

  @Test
  void theEnginesAreToldApart() {
    assertThat(NARROW.compute()).isEqualTo(DataType.BFLOAT16);
    assertThat(NARROW.digest()).isNotEqualTo(TinyWorld.ENGINE.digest());
    assertThat(NARROW.description()).contains("bfloat16");
  }

  @Test
  void learnsLikeFloat32() {
    Curves a = Curves.read(wide);
    Curves b = Curves.read(narrow);
    assertThat(b.rows()).hasSameSizeAs(a.rows());
    // The first losses come from the same masters: 8 bits of mantissa apart.
    assertThat(b.rows().get(0).get("tower")).isCloseTo(a.rows().get(0).get("tower"), within(0.02));
    assertThat(b.last("ce")).isCloseTo(a.last("ce"), within(0.25 * a.last("ce")));
    assertThat(b.last("ce")).isLessThan(0.7 * b.rows().get(20).get("ce"));
  }

  @Test
  void mastersKeepWhatBfloat16WouldRound() {
    int rounded = 0;
    int all = 0;
    for (Tensor tensor : Llava.tensors(narrow).values()) {
      for (float v : tensor.floats()) {
        rounded += (Float.floatToRawIntBits(v) & 0xFFFF) == 0 ? 1 : 0;
        all++;
      }
    }
    assertThat((double) rounded / all).isLessThan(0.1);
  }

  @Test
  void logitsAreThoseOfFloat32ToBfloat16sPrecision() {
    long[][] ids = new long[1][20];
    int image = 0;
    try (VisionLanguageModel a = Llava.load(TinyWorld.ENGINE, wide);
        VisionLanguageModel b = Llava.load(NARROW, wide);
        NDManager managerA = a.manager().newSubManager();
        NDManager managerB = b.manager().newSubManager()) {
      image = a.config().tokens().image();
      java.util.Arrays.fill(ids[0], 1, 17, image);
      float[] pixels = new float[3 * 32 * 32];
      for (int i = 0; i < pixels.length; i++) {
        pixels[i] = (float) Math.sin(0.01 * i);
      }
      Batch batch = Llava.batch((LlavaConfig) a.config(), pixels, ids, new int[][] {{17, 18, 19}});
      try (Forward f = a.forward(managerA, batch);
          Forward g = b.forward(managerB, batch)) {
        float[] x = f.logits().toFloatArray();
        float[] y = g.logits().toFloatArray();
        double error = 0;
        double size = 0;
        for (int i = 0; i < x.length; i++) {
          error += (x[i] - y[i]) * (x[i] - y[i]);
          size += x[i] * x[i];
        }
        assertThat(Math.sqrt(error / size)).isLessThan(0.03);
        assertThat(g.logits().getDataType()).isEqualTo(DataType.FLOAT32);
      }
    }
  }

  @Test
  void fullGraceIsByteIdenticalWhenRepeated() throws IOException {
    Path signals = Files2.folder(root.resolve("signals"));
    TeacherExtractor.run(
        NARROW,
        ExtractRequest.newBuilder()
            .setFirst(0)
            .setCount(24)
            .setTemperature(2)
            .setCache(TeacherCache.newBuilder().setForm("full").setTopK(0).setGram("bf16"))
            .build(),
        narrow,
        data,
        signals.resolve("unit.gsig"),
        answer -> {},
        Progress.NONE);
    byte[] first = train(signals, "first");
    assertThat(train(signals, "second")).isEqualTo(first);
    assertThat(Curves.read(root.resolve("first")).last("total")).isFinite();
  }

  private static byte[] train(Path signals, String name) throws IOException {
    Path out = Files2.folder(root.resolve(name));
    StudentTrainer.run(
        NARROW,
        TrainWork.newBuilder()
            .setTraining(TinyWorld.training(10))
            .setGrace(TinyWorld.grace())
            .setVariant(TinyWorld.variant(4, 8))
            .setShards(1)
            .setRounds(1)
            .build(),
        Map.of("student", narrow, "dataset", data, "signals", signals),
        7,
        out,
        Progress.NONE);
    return Files.readAllBytes(out.resolve("model/model.safetensors"));
  }
}
