package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDManager;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.OuterOptimizer;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.export.Exporter;
import io.gracebeam.worker.methods.export.PackedModel;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.signals.Signals;
import io.gracebeam.worker.methods.signals.TeacherExtractor;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrainingTest {
  @TempDir static Path root;
  static Path data;
  static Path teacher;
  static Path student;
  static Path signals;
  static final List<ExampleSignal> EMITTED = new ArrayList<>();
  static SortedMap<String, Double> measures;

  @BeforeAll
  static void prepare() throws IOException {
    data = TinyWorld.dataset(root.resolve("data"), 24);
    teacher = root.resolve("teacher");
    student = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(32, 20, 40), data, 1, teacher, Progress.NONE);
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 20, 20), data, 2, student, Progress.NONE);
    signals = extract("full", 0, "bf16", data);
  }

  private static Path extract(String form, int k, String gram, Path dataset) throws IOException {
    Path folder =
        Files.createDirectories(root.resolve("signals-" + form + gram + dataset.getFileName()));
    EMITTED.clear();
    measures =
        TeacherExtractor.run(
            TinyWorld.ENGINE,
            ExtractRequest.newBuilder()
                .setFirst(0)
                .setCount(24)
                .setTemperature(2)
                .setCache(TeacherCache.newBuilder().setForm(form).setTopK(k).setGram(gram))
                .build(),
            teacher,
            dataset,
            folder.resolve("unit.gsig"),
            EMITTED::add,
            Progress.NONE);
    return folder;
  }

  private static Path train(
      String name, Variant variant, Path from, int shard, int shards, int round, int rounds) {
    Map<String, Path> inputs =
        new HashMap<>(Map.of("student", from, "dataset", data, "signals", signals));
    Path out = Files2.folder(root.resolve(name));
    StudentTrainer.run(
        TinyWorld.ENGINE,
        TrainWork.newBuilder()
            .setTraining(TinyWorld.training(20))
            .setGrace(TinyWorld.grace())
            .setVariant(variant)
            .setShard(shard)
            .setShards(shards)
            .setRound(round)
            .setRounds(rounds)
            .build(),
        inputs,
        7,
        out,
        Progress.NONE);
    return out;
  }

  @Test
  void preTrainingLowersBothLosses() {
    Curves c = Curves.read(teacher);
    assertThat(c.rows()).hasSize(60);
    assertThat(c.rows().get(19).get("tower")).isLessThan(0.9 * c.rows().get(0).get("tower"));
    assertThat(c.last("ce")).isLessThan(0.7 * c.rows().get(20).get("ce"));
  }

  @Test
  void graceLowersTheLossAndRepeatsByteForByte() throws IOException {
    Path a = train("grace-a", TinyWorld.variant(4, 16), student, 0, 1, 0, 1);
    Path b = train("grace-b", TinyWorld.variant(4, 16), student, 0, 1, 0, 1);
    Curves c = Curves.read(a);
    assertThat(Curves.read(b).rows()).isEqualTo(c.rows());
    assertThat(c.rows()).hasSize(20);
    assertThat(c.last("ce")).isLessThan(c.rows().get(0).get("ce"));
    assertThat(c.last("gdkd")).isLessThan(c.rows().get(0).get("gdkd"));
    for (String f :
        List.of(
            "model/model.safetensors", "model/config.json", "state.safetensors", "curves.json")) {
      assertThat(a.resolve(f)).hasSameBinaryContentAs(b.resolve(f));
    }
  }

  @Test
  void twoRoundsOfOneShardAreOneRun() throws IOException {
    Variant v = TinyWorld.variant(4, 16);
    Path once = train("once", v, student, 0, 1, 0, 1);
    Path first = train("first", v, student, 0, 1, 0, 2);
    Path second = train("second", v, first, 0, 1, 1, 2);
    assertThat(second.resolve("model/model.safetensors"))
        .hasSameBinaryContentAs(once.resolve("model/model.safetensors"));
    assertThat(second.resolve("state.safetensors"))
        .hasSameBinaryContentAs(once.resolve("state.safetensors"));
  }

  @Test
  void shardsCombineAndGoOn() {
    Variant v = TinyWorld.variant(4, 16);
    Path s0 = train("s0", v, student, 0, 2, 0, 2);
    Path s1 = train("s1", v, student, 1, 2, 0, 2);
    Path out = Files2.folder(root.resolve("averaged"));
    OuterStep.run(
        AverageWork.newBuilder()
            .setShards(2)
            .setOuter(OuterOptimizer.newBuilder().setLearningRate(0.7).setMomentum(0.9))
            .build(),
        Map.of("previous", student, "shard-0", s0, "shard-1", s1),
        out,
        Progress.NONE);
    assertThat(Curves.read(out).rows()).hasSize(10);
    Path next = train("s0-next", v, out, 0, 2, 1, 2);
    assertThat(Curves.read(next).rows()).hasSize(10);
  }

  @Test
  void outerStepMatchesNesterovByHand() {
    float[] w = {1f, 2f};
    float[] momentum = {0.5f, 0f};
    float[] mean =
        OuterStep.mean(
            List.of(new float[] {0f, 2f}, new float[] {1f, 3f}, new float[] {2f, 4f}), "x");
    assertThat(mean).containsExactly(1f, 3f);
    OuterStep.step(w, new float[] {0.5f, 3f}, momentum, 0.7, 0.9, "x");
    // g = 0.5, -1; m = 0.95, -1; w -= 0.7 (g + 0.9 m)
    assertThat(momentum).containsExactly(0.95f, -1f);
    assertThat(w[0]).isCloseTo(0.0515f, within(1e-6f));
    assertThat(w[1]).isCloseTo(3.33f, within(1e-6f));
  }

  @Test
  void groupSizeThatDoesNotDivideIsRefused() {
    assertThatThrownBy(() -> train("bad-group", TinyWorld.variant(4, 12), student, 0, 1, 0, 1))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("group_size 12 does not divide");
  }

  @Test
  void signalsAreMeasuredAndTopKErrsWithinTheTail() throws IOException {
    Path full = extract("full", 0, "f32", data);
    assertThat(EMITTED).hasSize(24).allMatch(e -> e.getError().isEmpty() && e.getTokensCount() > 2);
    assertThat(EMITTED.get(0).getTokens(0).getType()).isEqualTo("open");
    SignalReader a = SignalReader.open(full);
    Path top = extract("top-k", 8, "bf16", data);
    SignalReader b = SignalReader.open(top);
    assertThat(measures.get("bytes"))
        .isEqualTo(
            64
                + 24 * 16
                + measures.get("tokens") * measures.get("bytesPerToken")
                + measures.get("images") * measures.get("bytesPerImage"));
    for (int i = 0; i < 24; i++) {
      Signals x = a.get(i);
      Signals y = b.get(i);
      assertThat(y.statistics().entropy()).containsExactly(x.statistics().entropy());
      assertThat(y.targets()).containsExactly(x.targets());
      Signals few = b.scalars(i);
      assertThat(few)
          .usingRecursiveComparison()
          .ignoringFields("ids", "logits", "visualTokens", "grams")
          .isEqualTo(y);
      assertThat(few.logits()).isNull();
      float[] exact = x.grams().getFirst();
      float[] rounded = y.grams().getFirst();
      for (int j = 0; j < exact.length; j++) {
        assertThat(rounded[j]).isCloseTo(exact[j], within(Math.abs(exact[j]) / 256 + 1e-9f));
      }
      for (int t = 0; t < x.tokens(); t++) {
        for (int k = 0; k < 8; k++) {
          assertThat(y.logits()[t * 8 + k])
              .isEqualTo(x.logits()[t * a.form().vocab() + y.ids()[t * 8 + k]]);
        }
      }
    }
  }

  @Test
  void badPhotoBecomesAnErrorEntryAndTheRestGoesOn() throws IOException {
    Path broken = TinyWorld.dataset(root.resolve("broken"), 24);
    Files.write(broken.resolve("images/000003.png"), new byte[] {1, 2, 3});
    Path folder = extract("full", 0, "bf16", broken);
    assertThat(EMITTED.get(3).getError()).contains("000003.png");
    SignalReader r = SignalReader.open(folder);
    assertThat(r.get(3).error()).contains("000003.png").isEqualTo(r.scalars(3).error());
    assertThat(r.get(4).tokens()).isPositive();
    byte[] bytes = Files.readAllBytes(folder.resolve("unit.gsig"));
    Path cut =
        Files.write(root.resolve("cut.gsig"), java.util.Arrays.copyOf(bytes, bytes.length - 5));
    assertThatThrownBy(() -> SignalReader.open(cut)).hasMessageContaining("does not fit");
  }

  @Test
  void packedModelGivesTheLogitsOfTheFakeQuantizedOne() {
    for (int bits : new int[] {2, 3, 4, 8}) {
      Path trained = train("packed-" + bits, TinyWorld.variant(bits, 16), student, 0, 1, 0, 1);
      float[][] logits = new float[2][];
      int n = 0;
      for (String format : List.of("pack-quantized", "dense")) {
        Path out = root.resolve(format + bits);
        Exporter.run(
            ExportWork.newBuilder()
                .setFormat(format)
                .setScales("trained")
                .setVariant(TinyWorld.variant(bits, 16))
                .build(),
            Map.of("trained", trained),
            out,
            Progress.NONE);
        try (VisionLanguageModel m = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(out));
            NDManager manager = m.manager().newSubManager()) {
          BatchMaker maker = new BatchMaker(Dataset.open(data), Llava.inputs(out));
          Item item = maker.item(5);
          logits[n++] =
              m.forward(manager, BatchMaker.batch(List.of(item), m.config()))
                  .logits()
                  .toFloatArray();
        }
      }
      assertThat(logits[0]).hasSameSizeAs(logits[1]);
      for (int i = 0; i < logits[0].length; i++) {
        assertThat(logits[0][i]).isCloseTo(logits[1][i], within(1e-4f));
      }
    }
  }

  @Test
  void examplesFromFilesGiveWhatThoseAtHandGive() {
    Dataset set = Dataset.open(data);
    try (VisionLanguageModel m = Llava.load(TinyWorld.ENGINE, student)) {
      Parameters p = new Parameters(new LinkedHashMap<>(StudentTrainer.trainable(m, false)));
      SignalReader r = SignalReader.open(signals);
      Losses losses = new Losses(TinyWorld.variant(4, 16), TinyWorld.grace(), r.form());
      BatchMaker maker = new BatchMaker(set, Llava.inputs(student));
      Stepper s = new Stepper(TinyWorld.ENGINE, m, maker, losses, r, p);
      Stepper.Weights weights = new Stepper.Weights(0.5, 1, "test");
      int[] batch = {13, 1, 9, 5, 2};
      p.write();
      Losses.Total found = s.accumulate(batch, Stepper.Limits.micro(2), weights);
      p.gradients();
      String norm = "language_model.model.norm.weight";
      float[] gradient = p.gradient(norm).clone();
      List<Example> atHand =
          java.util.Arrays.stream(batch)
              .mapToObj(i -> new Example(maker.item(i), r.get(i)))
              .toList();
      p.write();
      Losses.Total expected = s.accumulate(atHand, Stepper.Limits.micro(2), weights);
      p.gradients();
      assertThat(found).usingRecursiveComparison().isEqualTo(expected);
      assertThat(found.gdkd).isPositive();
      assertThat(gradient).isEqualTo(p.gradient(norm));
    }
  }

  @Test
  void quantizedGradientsMatchFiniteDifferences() {
    Dataset set = Dataset.open(data);
    try (VisionLanguageModel m = Llava.load(TinyWorld.ENGINE, student)) {
      Map<String, ai.djl.ndarray.NDArray> trainable =
          new LinkedHashMap<>(StudentTrainer.trainable(m, false));
      Parameters p = new Parameters(trainable);
      p.quantize(m.quantizableWeights(), 4, 16, false);
      Variant v = TinyWorld.variant(4, 16);
      SignalReader r = SignalReader.open(signals);
      Losses losses = new Losses(v, TinyWorld.grace(), r.form());
      Stepper s =
          new Stepper(
              TinyWorld.ENGINE, m, new BatchMaker(set, Llava.inputs(student)), losses, r, p);
      int[] batch = {1, 5, 9, 13};
      Stepper.Weights weights = new Stepper.Weights(0.5, 1, "test");
      p.write();
      s.accumulate(batch, Stepper.Limits.micro(2), weights);
      p.gradients();
      String norm = "language_model.model.norm.weight";
      String q = m.quantizableWeights().get(0);
      float[] dNorm = p.gradient(norm).clone();
      float[] dTheta = p.thetaGradient(q).clone();
      // Directional derivative: all norm weights along their gradient.
      double expected = 0;
      for (float g : dNorm) {
        expected += (double) g * g;
      }
      double h = 1e-2 / Math.sqrt(expected);
      double numeric =
          (loss(s, p, batch, weights, norm, dNorm, h) - loss(s, p, batch, weights, norm, dNorm, -h))
              / (2 * h);
      assertThat(numeric).isCloseTo(expected, within(0.02 * expected));
      // theta: What is piecewise linear in s with fixed codes, so compare with the codes'
      // derivative.
      float[] w = p.latent(q);
      float[] theta = p.theta(q);
      QuantSpec spec = QuantSpec.of(4, 16, false, 16, 16);
      byte[] codes = new byte[w.length];
      LogScaleQuantizer.quantize(w, theta, 16, 16, spec, codes);
      float[] scales = LogScaleQuantizer.scales(theta);
      p.write();
      s.accumulate(batch, Stepper.Limits.micro(2), weights);
      float[] dWhat = m.parameters().get(q).getGradient().toFloatArray();
      for (int g = 0; g < theta.length; g++) {
        double sum = 0;
        for (int i = 16 * g; i < 16 * g + 16; i++) {
          double ratio = w[i] / scales[g];
          boolean in = Math.rint(ratio) >= -8 && Math.rint(ratio) <= 7;
          sum += dWhat[i] * (codes[i] - (in ? ratio : 0)) * scales[g];
        }
        assertThat((double) dTheta[g]).isCloseTo(sum, within(1e-5 + 1e-3 * Math.abs(sum)));
      }
    }
  }

  private static double loss(
      Stepper s,
      Parameters p,
      int[] batch,
      Stepper.Weights weights,
      String name,
      float[] direction,
      double h) {
    float[] w = p.latent(name);
    float[] keep = w.clone();
    for (int i = 0; i < w.length; i++) {
      w[i] += (float) (h * direction[i]);
    }
    p.write();
    Losses.Total t = s.accumulate(batch, Stepper.Limits.micro(4), weights);
    p.gradients();
    System.arraycopy(keep, 0, w, 0, w.length);
    return t.ce + weights.beta() * t.gdkd + weights.omega() * t.rcka;
  }
}
