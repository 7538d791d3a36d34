package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.TeacherStatistics;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import io.gracebeam.worker.methods.testing.Llava;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.junit.jupiter.api.Test;

/**
 * Twenty steps of the project's trainer in float32 against those of torch in double precision: the
 * model of transformers, LSQ through autograd, torch's AdamW and clipping ({@code
 * conformance/make_goldens.py}, which chose data that leave no code and no direction of AdamW's
 * first step to rounding).
 *
 * <p>Measured on LibTorch and on DJL's engine: losses 6.5e-6 apart at most, lengths of what weights
 * and log-scales moved 2.6e-5 of them, single values 2.4e-4 of a typical movement. The bounds are
 * four times that.
 */
class TorchTrainingTest {
  private static final Path GOLDENS = Path.of("src/test/resources/goldens");
  private static final int VOCAB = 64;
  private static final int STEPS = 20;

  private static JsonNode read(String file) throws IOException {
    return new ObjectMapper().readTree(GOLDENS.resolve(file).toFile());
  }

  private static float[] floats(JsonNode node) {
    float[] out = new float[node.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = node.get(i).floatValue();
    }
    return out;
  }

  private static Example example(int number, JsonNode inputs, JsonNode teacher) {
    long[] ids = new long[inputs.get("ids").size()];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = inputs.get("ids").get(i).longValue();
    }
    int tokens = teacher.get("rows").size();
    int[] rows = new int[tokens];
    int[] targets = new int[tokens];
    float[] logits = floats(teacher.get("teacher"));
    float[][] known = new float[4][tokens];
    for (int i = 0; i < tokens; i++) {
      rows[i] = teacher.get("rows").get(i).intValue();
      targets[i] = (int) ids[rows[i] + 1];
      TeacherStatistics s = TeacherStatistics.of(logits, i, VOCAB, targets[i], 2);
      known[0][i] = (float) s.targetLogProb();
      known[1][i] = (float) s.logSumExp();
      known[2][i] = (float) s.entropy();
      known[3][i] = (float) s.nonTargetLogSumExp();
    }
    return new Example(
        new Item(
            "case-" + number,
            Llava.input(
                Llava.config(GOLDENS.resolve("tiny-llava")), floats(inputs.get("pixels")), ids),
            rows,
            targets,
            new int[tokens]),
        new Signals(
            null,
            targets,
            new Signals.Statistics(known[0], known[1], known[2], known[3]),
            null,
            logits,
            new int[] {4},
            List.of(floats(teacher.get("gram")))));
  }

  @Test
  void twentyStepsAreThoseOfTorch() throws IOException {
    JsonNode golden = read("training.json");
    List<Example> batch = new ArrayList<>();
    for (JsonNode inputs : read("forward.json")) {
      batch.add(example(batch.size(), inputs, golden.get("examples").get(batch.size())));
    }
    Training t =
        TinyWorld.training(STEPS)
            .setMicroBatchExamples(1)
            .setLearningRate(3e-4)
            .setClipNorm(12)
            .build();
    try (VisionLanguageModel model =
        ModelFolder.open(GOLDENS.resolve("tiny-llava")).loadForTraining(TinyWorld.ENGINE)) {
      Parameters parameters =
          new Parameters(StudentTrainer.trainable(model, true), model.masters());
      parameters.quantize(model.quantizableWeights(), 4, 16, false);
      Losses losses =
          new Losses(
              Variant.newBuilder().setDistillation("dkd").setGate(true).setRcka(true).build(),
              TinyStudent.GRACE,
              new SignalForm(SignalForm.Rows.FULL_F32, VOCAB, 0, 2, SignalForm.Gram.F32));
      Stepper stepper = new Stepper(TinyWorld.ENGINE, model, null, losses, null, parameters);
      Map<String, float[]> start = new java.util.HashMap<>();
      model.masters().forEach((name, w) -> start.put(name, w.clone()));
      parameters
          .state()
          .forEach(
              (name, values) -> {
                if (name.startsWith(Parameters.THETA)) {
                  start.put(name, values.clone());
                }
              });
      int clipped = 0;
      for (int step = 0; step < STEPS; step++) {
        JsonNode expected = golden.get("curve").get(step);
        Losses.Total found =
            stepper.step(
                batch,
                t,
                Schedule.rate(t, step, STEPS),
                step + 1,
                new Stepper.Weights(0.5, 1, "step " + (step + 1)));
        near(found.ce, expected.get("ce").doubleValue());
        near(found.gdkd, expected.get("gdkd").doubleValue());
        near(found.rcka, expected.get("rcka").doubleValue());
        clipped += expected.get("norm").doubleValue() > t.getClipNorm() ? 1 : 0;
      }
      assertThat(clipped).isBetween(2, STEPS - 2);
      tensors(golden.get("tensors"), model, parameters, start);
    }
  }

  private static void near(double found, double expected) {
    assertThat(found).isCloseTo(expected, within(2.5e-5));
  }

  private static void tensors(
      JsonNode golden,
      VisionLanguageModel model,
      Parameters parameters,
      Map<String, float[]> start) {
    SortedMap<String, float[]> state = parameters.state();
    assertThat(golden.size()).isEqualTo(StudentTrainer.trainable(model, true).size() + 14);
    for (Iterator<Map.Entry<String, JsonNode>> it = golden.fields(); it.hasNext(); ) {
      Map.Entry<String, JsonNode> tensor = it.next();
      String name = tensor.getKey();
      float[] w = name.startsWith(Parameters.THETA) ? state.get(name) : model.masters().get(name);
      assertThat(w).as(name).isNotNull();
      if (name.matches(PlainTrainerTest.IDLE)) {
        continue;
      }
      double squares = 0;
      for (int i = 0; i < w.length; i++) {
        squares += Math.pow((double) w[i] - start.get(name)[i], 2);
      }
      double moved = tensor.getValue().get("moved").doubleValue();
      assertThat(Math.sqrt(squares)).as(name).isCloseTo(moved, within(1e-4 * moved));
      for (int i = 0; i < tensor.getValue().get("at").size(); i++) {
        int at = tensor.getValue().get("at").get(i).intValue();
        double expected = tensor.getValue().get("values").get(i).doubleValue();
        double typical = moved / Math.sqrt(w.length);
        assertThat((double) w[at])
            .as("%s[%d]", name, at)
            .isCloseTo(expected, within(1e-3 * typical));
      }
    }
  }
}
