package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.export.Exporter;
import io.gracebeam.worker.methods.export.PackedModel;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.signals.SignalWriter;
import io.gracebeam.worker.methods.signals.Signals;
import io.gracebeam.worker.methods.signals.TeacherExtractor;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.assertj.core.api.ThrowableAssert;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The switches of a variant, what training refuses, and the gradient of a quantized step. */
class VariantsTest {
  private static final int[] BATCH = {1, 5, 9, 13};

  @TempDir static Path root;
  private static Path data;
  private static Path student;
  private static Path signals;

  @BeforeAll
  static void prepare() throws IOException {
    data = TinyWorld.dataset(root.resolve("data"), 24);
    Path teacher = root.resolve("teacher");
    student = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(32, 10, 30), data, 1, teacher, Progress.NONE);
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 10, 15), data, 2, student, Progress.NONE);
    signals = Files.createDirectories(root.resolve("signals"));
    TeacherExtractor.run(
        TinyWorld.ENGINE,
        ExtractRequest.newBuilder()
            .setCount(24)
            .setTemperature(2)
            .setCache(TeacherCache.newBuilder().setForm("full").setGram("bf16"))
            .build(),
        teacher,
        data,
        signals.resolve("unit.gsig"),
        e -> {},
        Progress.NONE);
  }

  private static Variant ce(boolean quantized) {
    return Variant.newBuilder()
        .setName("ce")
        .setSource("train")
        .setQuantized(quantized)
        .setBits(4)
        .setGroupSize(16)
        .setDistillation("none")
        .build();
  }

  /** Trains; a null teacher is not among the inputs. */
  private static Path train(String name, Variant variant, Training training, Path teacher) {
    return train(name, variant, training, teacher, student);
  }

  private static Path train(
      String name, Variant variant, Training training, Path teacher, Path from) {
    Map<String, Path> inputs = new HashMap<>(Map.of("student", from, "dataset", data));
    if (teacher != null) {
      inputs.put("signals", teacher);
    }
    Path out = Files2.folder(root.resolve(name));
    StudentTrainer.run(
        TinyWorld.ENGINE,
        TrainWork.newBuilder()
            .setTraining(training)
            .setGrace(TinyWorld.grace())
            .setVariant(variant)
            .setShards(1)
            .setRounds(1)
            .build(),
        inputs,
        7,
        out,
        Progress.NONE);
    return out;
  }

  private static Path export(String name, Path from, String format, String scales, Variant v) {
    Path out = root.resolve(name);
    Exporter.run(
        ExportWork.newBuilder().setFormat(format).setScales(scales).setVariant(v).build(),
        Map.of("trained", from),
        out,
        Progress.NONE);
    return out;
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void crossEntropyAloneNeedsNoTeacher(boolean quantized) {
    Path out = train("ce-" + quantized, ce(quantized), TinyWorld.training(20).build(), null);
    Curves c = Curves.read(out);
    assertThat(c.rows()).hasSize(20);
    assertThat(c.last("ce")).isLessThan(c.rows().get(0).get("ce"));
    for (Map<String, Double> row : c.rows()) {
      assertThat(row).doesNotContainKeys("gdkd", "rcka", "beta");
      assertThat(row.get("total")).isEqualTo(row.get("ce"));
    }
    boolean scales =
        StateFile.read(out.resolve(StateFile.FILE)).keySet().stream()
            .anyMatch(n -> n.startsWith(Parameters.THETA));
    assertThat(scales).isEqualTo(quantized);
  }

  @Test
  void oneScalePerTensorTrainsAndPacks() {
    Variant v = TinyWorld.variant(4, 16).toBuilder().setPerTensor(true).build();
    Path trained = train("tensor", v, TinyWorld.training(10).build(), signals);
    StateFile.read(trained.resolve(StateFile.FILE))
        .forEach(
            (name, values) -> {
              if (name.startsWith(Parameters.THETA)) {
                assertThat(values).as(name).hasSize(1);
              }
            });
    Curves c = Curves.read(trained);
    assertThat(c.last("ce")).isLessThan(c.rows().get(0).get("ce"));
    Path packed = export("tensor-packed", trained, "pack-quantized", "trained", v);
    Path dense = export("tensor-dense", trained, "dense", "trained", v);
    assertThat(logits(packed)).containsExactly(logits(dense), within(1e-4f));
  }

  private static float[] logits(Path folder) {
    try (VisionLanguageModel m = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder));
        NDManager manager = m.manager().newSubManager()) {
      BatchMaker maker = new BatchMaker(Dataset.open(data), Llava.inputs(folder));
      Item item = maker.item(5);
      return m.forward(manager, BatchMaker.batch(List.of(item), m.config()))
          .logits()
          .toFloatArray();
    }
  }

  @Test
  void scaleSourcesAreRoundToNearestAndSearched() {
    Variant v = TinyWorld.variant(3, 8);
    Map<String, Tensor> before = Llava.tensors(Files2.modelFolder(student));
    Map<String, Tensor> rtn = Llava.tensors(export("rtn", student, "dense", "rtn", v));
    Map<String, Tensor> mse = Llava.tensors(export("mse", student, "dense", "mse", v));
    int quantized = 0;
    for (String name : before.keySet()) {
      float[] w = before.get(name).floats();
      float[] a = rtn.get(name).floats();
      float[] b = mse.get(name).floats();
      if (!name.matches("language_model\\.model\\.layers\\..*_proj\\.weight")) {
        assertThat(a).as(name).isEqualTo(w);
        assertThat(b).as(name).isEqualTo(w);
        continue;
      }
      quantized++;
      double errorA = 0;
      double errorB = 0;
      for (int at = 0; at < w.length; at += 8) {
        float max = 0;
        for (int i = at; i < at + 8; i++) {
          max = Math.max(max, Math.abs(w[i]));
        }
        for (int i = at; i < at + 8; i++) {
          double s = max / 3.0;
          // Nothing is clipped: the error of a weight is half a step at most.
          assertThat((double) a[i]).as(name).isCloseTo(s * Math.rint(w[i] / s), within(1e-5 * s));
          errorA += Math.pow(a[i] - w[i], 2);
          errorB += Math.pow(b[i] - w[i], 2);
        }
      }
      assertThat(errorB).as(name).isLessThan(errorA);
    }
    assertThat(quantized).isEqualTo(14);
    assertThatThrownBy(() -> export("what", student, "dense", "best", v))
        .isInstanceOf(GraceException.class)
        .hasMessage(
            "quantizer: 'best' is unknown; allowed: mse, needs-calibration, reversed-columns, rtn,"
                + " toward-zero, trained");
  }

  @ParameterizedTest
  @CsvSource({"false,none", "true,none", "true,dkd"})
  void lossThatIsNotFiniteStopsTrainingWithOneLine(boolean quantized, String distillation) {
    Path good = Files2.modelFolder(student);
    Path bad = Files2.folder(root.resolve("bad-" + quantized + distillation));
    TreeMap<String, Tensor> tensors = new TreeMap<>(Llava.tensors(good));
    tensors.computeIfPresent(
        "language_model.lm_head.weight",
        (n, t) -> {
          float[] w = t.floats();
          Arrays.fill(w, 3e38f);
          return Tensor.of(t.shape(), w);
        });
    Llava.config(good).write(bad);
    CheckpointWriter.write(bad, tensors);
    Files2.copySideFiles(good, bad);
    Variant v = ce(quantized).toBuilder().setDistillation(distillation).build();
    Path teacher = distillation.equals("dkd") ? signals : null;
    stops(
        () -> train("overflow", v, TinyWorld.training(5).build(), teacher, bad),
        "step 1: the loss is not finite; examples \\[e\\d+(, e\\d+)*\\]");
  }

  @Test
  void trainingThatDivergesStopsAtTheStepWithOneLine() {
    Training wild = TinyWorld.training(5).setLearningRate(1e6).setWarmupFraction(0).build();
    stops(
        () -> train("wild", ce(false), wild, null),
        "step [2-5]( \\(examples [\\d, .]+\\))?: the (loss|gradient) is not finite.*");
  }

  private static void stops(ThrowableAssert.ThrowingCallable training, String line) {
    assertThatThrownBy(training)
        .isInstanceOfSatisfying(
            GraceException.class,
            e -> {
              assertThat(e.category()).isEqualTo(Category.DATA);
              assertThat(e.getMessage()).matches(line);
            });
  }

  @Test
  void anotherVocabularyIsRefusedWithOneLine() throws IOException {
    SignalReader own = SignalReader.open(signals);
    SignalForm h = own.form();
    SignalForm wider = new SignalForm(h.rows(), h.vocab() + 3, 0, h.temperature(), h.gram());
    SignalWriter w = new SignalWriter(wider, 16, 0);
    w.add(Signals.bad("none"));
    Path other = Files.createDirectories(root.resolve("wider"));
    w.write(other.resolve("unit.gsig"));
    assertThatThrownBy(
            () -> train("wide", TinyWorld.variant(4, 16), TinyWorld.training(2).build(), other))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessage(
            "teacher and student have different vocabularies: %d and %d tokens; allowed is the"
                + " same",
            h.vocab() + 3, h.vocab());

    // As many ids, but other ones.
    SignalWriter swapped = new SignalWriter(h, 16, 0);
    for (int i = 0; i < 24; i++) {
      Signals s = own.get(i);
      int[] targets = s.targets().clone();
      targets[0] = (targets[0] + 1) % h.vocab();
      swapped.add(
          new Signals(
              null, targets, s.statistics(), null, s.logits(), s.visualTokens(), s.grams()));
    }
    Path same = Files.createDirectories(root.resolve("swapped"));
    swapped.write(same.resolve("unit.gsig"));
    assertThatThrownBy(
            () -> train("swap", TinyWorld.variant(4, 16), TinyWorld.training(2).build(), same))
        .isInstanceOf(GraceException.class)
        .hasMessageMatching(
            "example e\\d+: teacher and student tokenize its answers differently; allowed is the"
                + " same vocabulary");
  }

  /**
   * The quantized step by finite differences. With codes q0 and residuals frozen where they are,
   * the straight-through estimator is the true gradient of W^(W, theta) = W + s (q0 - W0 / s0)
   * inside the range and s q0 outside: by W 1 or 0, by s q0 - W0 / s0 or q0, as LSQ has it. The
   * whole model is run on W^ of moved latent weights and of moved log-scales.
   */
  @Test
  void quantizedStepMatchesFiniteDifferencesByWeightsAndScales() {
    try (VisionLanguageModel m = Llava.load(TinyWorld.ENGINE, Files2.modelFolder(student))) {
      Parameters p = new Parameters(StudentTrainer.trainable(m, false));
      List<String> names = m.quantizableWeights();
      p.quantize(names, 3, 16, false);
      // Smaller scales, so that some weights are clipped.
      names.forEach(n -> shift(p.theta(n), -0.4f));
      BatchMaker maker =
          new BatchMaker(Dataset.open(data), Llava.inputs(Files2.modelFolder(student)));
      SignalReader reader = SignalReader.open(signals);
      Losses losses = new Losses(TinyWorld.variant(3, 16), TinyWorld.grace(), reader.form());
      Stepper stepper = new Stepper(TinyWorld.ENGINE, m, maker, losses, reader, p);
      p.write();
      stepper.accumulate(BATCH, Stepper.Limits.micro(4), new Stepper.Weights(0.5, 1, "test"));
      p.gradients();
      Map<String, float[]> dW = new HashMap<>();
      Map<String, float[]> dTheta = new HashMap<>();
      int clipped = 0;
      for (String n : names) {
        dW.put(n, p.gradient(n).clone());
        dTheta.put(n, p.thetaGradient(n).clone());
        for (int i = 0; i < dW.get(n).length; i++) {
          if (outside(p, n, i)) {
            clipped++;
            assertThat(dW.get(n)[i]).isZero();
          }
        }
      }
      assertThat(clipped).isGreaterThan(50);
      for (boolean scales : new boolean[] {false, true}) {
        Map<String, float[]> along = scales ? dTheta : dW;
        // All at once along the gradient, then each weight matrix along its own.
        List<List<String>> moves = new ArrayList<>(List.of(names));
        names.forEach(n -> moves.add(List.of(n)));
        for (List<String> moved : moves) {
          double square = 0;
          for (String n : moved) {
            for (float g : along.get(n)) {
              square += (double) g * g;
            }
          }
          double h = (scales ? 1e-2 : 3e-3) / Math.sqrt(square);
          double up = surrogate(m, p, names, moved, along, scales, h, maker, losses, reader);
          double down = surrogate(m, p, names, moved, along, scales, -h, maker, losses, reader);
          double numeric = (up - down) / (2 * h);
          assertThat(numeric)
              .as("%s of %s", scales ? "theta" : "W", moved)
              .isCloseTo(square, within(0.03 * square + 2e-5 * Math.sqrt(square) / 1e-2));
        }
      }
    }
  }

  private static void shift(float[] theta, float by) {
    for (int i = 0; i < theta.length; i++) {
      theta[i] += by;
    }
  }

  private static boolean outside(Parameters p, String name, int i) {
    double r = Math.rint(p.latent(name)[i] / LogScaleQuantizer.scales(p.theta(name))[i / 16]);
    return r < -4 || r > 3;
  }

  /** Loss of the model with W^ of latent weights or log-scales moved by h along a direction. */
  private static double surrogate(
      VisionLanguageModel m,
      Parameters p,
      List<String> names,
      List<String> moved,
      Map<String, float[]> along,
      boolean scales,
      double h,
      BatchMaker maker,
      Losses losses,
      SignalReader reader) {
    for (String n : names) {
      NDArray array = m.parameters().get(n);
      float[] w = p.latent(n);
      float[] s = LogScaleQuantizer.scales(p.theta(n));
      int rows = (int) array.getShape().get(0);
      int cols = (int) array.getShape().get(1);
      byte[] codes = new byte[w.length];
      LogScaleQuantizer.quantize(
          w, p.theta(n), rows, cols, QuantSpec.of(3, 16, false, rows, cols), codes);
      float[] what = new float[w.length];
      float[] d = along.get(n);
      double step = moved.contains(n) ? h : 0;
      for (int i = 0; i < w.length; i++) {
        int g = i / 16;
        double scale = s[g] * (scales ? Math.exp(step * d[g]) : 1);
        double latent = w[i] + (scales ? 0 : step * d[i]);
        what[i] =
            (float)
                (outside(p, n, i)
                    ? scale * codes[i]
                    : latent + scale * (codes[i] - (double) w[i] / s[g]));
      }
      array.intern(EngineArrays.of(array.getManager(), what, array.getShape()));
    }
    List<Item> items = Arrays.stream(BATCH).mapToObj(maker::item).toList();
    List<Signals> teacher = Arrays.stream(BATCH).mapToObj(reader::get).toList();
    Losses.Norms norms = losses.norms(Batches.of(items, teacher));
    Losses.Total t = new Losses.Total();
    try (NDManager manager = m.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      Forward f = m.forward(manager, BatchMaker.batch(items, m.config()));
      int n = m.config().imageTokens();
      RowLosses rows = losses.rows(items, teacher, m.config().vocab(), norms, 0.5);
      rows.apply(f.logits().toFloatArray());
      rows.addTo(t);
      Batches.relations(losses, f.visualStates().toFloatArray(), n, teacher, norms, t);
    }
    return t.ce + 0.5 * t.gdkd + t.rcka;
  }
}
