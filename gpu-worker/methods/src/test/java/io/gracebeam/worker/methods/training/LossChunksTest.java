package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Hash;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The head and its loss in chunks of rows: each row's loss and gradient, and the sums over rows,
 * are equal to the bit however the rows are cut; products over other numbers of rows round
 * otherwise, so weights' gradients agree within rounding.
 */
class LossChunksTest {
  private static final int VOCAB = 61;
  private static final double BETA = 0.5;
  private static final Stepper.Weights WEIGHTS = new Stepper.Weights(BETA, 1, "test");

  private static TrainBench.Shape shape(boolean tied) {
    LlavaConfig.Vision vision = new LlavaConfig.Vision(16, 8, 16, 2, 2, 32, 16, 1e-5);
    DecoderSizes text = new DecoderSizes(VOCAB, 32, 2, 2, 2, 16, 64, 64, 1e-5, 10000);
    LlavaConfig config =
        new LlavaConfig(vision, text, 3, vision.patches(), -2, true, 1, 2, 0, true, tied);
    return new TrainBench.Shape("tiny", config, 16, 5, 3, 12, 7);
  }

  private static Losses losses(TrainBench.Shape shape) {
    return new Losses(
        Variant.newBuilder().setDistillation("dkd").setGate(true).setRcka(true).build(),
        Grace.newBuilder().setTemperature(2).setAlpha(1).setBetaDkd(4).build(),
        new SignalForm(SignalForm.Rows.FULL_F32, VOCAB, 0, 2, SignalForm.Gram.F32));
  }

  private static List<Example> examples(TrainBench.Shape shape) {
    List<Example> out = new ArrayList<>();
    for (int i = 0; i < shape.examples(); i++) {
      out.add(TrainBench.example(shape, i, true));
    }
    return out;
  }

  /** Model, its parameters and the examples, on the engine of the tests. */
  private static final class World implements AutoCloseable {
    final TrainBench.Shape shape;
    final VisionLanguageModel model;
    final Set<String> names;
    final Parameters parameters;
    final Losses losses;
    final List<Example> batch;
    Losses.Total total;

    World(boolean tied) {
      shape = shape(tied);
      model =
          VisionLanguageModel.createForTraining(
              TinyWorld.ENGINE, shape.config(), Prepare.initial(shape.config(), 1));
      Map<String, NDArray> trainable = StudentTrainer.trainable(model, true);
      names = trainable.keySet();
      parameters = new Parameters(trainable, model.masters());
      losses = losses(shape);
      batch = examples(shape);
    }

    /** Gradients by name, with the given memory for the loss. */
    Map<String, float[]> gradients(Stepper.Limits limits) {
      parameters.write();
      Stepper stepper = new Stepper(TinyWorld.ENGINE, model, null, losses, null, parameters);
      total = stepper.accumulate(batch, limits, WEIGHTS);
      return read();
    }

    private Map<String, float[]> read() {
      parameters.gradients();
      Map<String, float[]> out = new TreeMap<>();
      for (String name : names) {
        out.put(name, parameters.gradient(name));
      }
      return out;
    }

    /** Gradients through the engine's graph, over all logits of all examples at once. */
    Map<String, float[]> throughTheGraph() {
      parameters.write();
      total = new Losses.Total();
      List<Item> items = batch.stream().map(Example::item).toList();
      List<Signals> teacher = batch.stream().map(Example::signals).toList();
      Losses.Norms norms = losses.norms(batch);
      try (GradientCollector collector = TinyWorld.ENGINE.engine().newGradientCollector();
          NDManager manager = model.manager().newSubManager();
          NDScope scope = new NDScope()) {
        scope.suppressNotUsedWarning();
        Forward f = model.forward(manager, BatchMaker.batch(items, model.config()));
        RowLosses tokens = losses.rows(items, teacher, VOCAB, norms, BETA);
        float[] d = tokens.apply(f.logits().toFloatArray());
        tokens.addTo(total);
        int n = model.config().imageTokens();
        float[] dv =
            Batches.relations(losses, f.visualStates().toFloatArray(), n, teacher, norms, total);
        collector.backward(
            f.logits()
                .mul(EngineArrays.of(manager, d, f.logits().getShape()))
                .sum()
                .add(
                    f.visualStates()
                        .mul(EngineArrays.of(manager, dv, f.visualStates().getShape()))
                        .sum()));
      }
      return read();
    }

    @Override
    public void close() {
      model.close();
    }
  }

  private static void close(Map<String, float[]> found, Map<String, float[]> expected) {
    assertThat(found.keySet()).isEqualTo(expected.keySet());
    expected.forEach(
        (name, e) -> {
          double error = 0;
          double size = 0;
          for (int i = 0; i < e.length; i++) {
            error += Math.pow(found.get(name)[i] - e[i], 2);
            size += (double) e[i] * e[i];
          }
          assertThat(Math.sqrt(error)).as(name).isLessThan(1e-5 * Math.sqrt(size) + 1e-6);
        });
    float[] embeddings = expected.get("language_model.model.embed_tokens.weight");
    assertThat(embeddings).isNotEqualTo(new float[embeddings.length]);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void gradientsAreThoseOfTheGraphHoweverRowsAreCut(boolean tied) {
    try (World w = new World(tied)) {
      Map<String, float[]> expected = w.throughTheGraph();
      Losses.Total total = w.total;
      // One row at a time and a few rows of dW; three rows, which cut examples; all at once.
      for (long rows : new long[] {1, 3, 8, 1000}) {
        for (int micro : new int[] {0, 2}) {
          long bytes = rows * VOCAB * Float.BYTES * 8 / 7 + 8;
          close(w.gradients(Stepper.Limits.micro(micro).loss(bytes)), expected);
          assertThat(w.total.ce).isCloseTo(total.ce, within(1e-6));
          assertThat(w.total.gdkd).isCloseTo(total.gdkd, within(1e-5));
          assertThat(w.total.rcka).isCloseTo(total.rcka, within(1e-6));
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void checkpointedBlocksGiveTheSameBits(boolean tied) {
    try (World w = new World(tied)) {
      for (int micro : new int[] {0, 2}) {
        Stepper.Limits limits = Stepper.Limits.micro(micro).loss(4L * VOCAB * Float.BYTES);
        Map<String, float[]> expected = w.gradients(limits);
        Losses.Total total = w.total;
        Map<String, float[]> found = w.gradients(limits.checkpoints(true));
        expected.forEach((name, g) -> assertThat(found.get(name)).as(name).isEqualTo(g));
        assertThat(w.total.ce).isEqualTo(total.ce);
        assertThat(w.total.rcka).isEqualTo(total.rcka);
      }
    }
  }

  @Test
  void theSameChunksGiveTheSameBits() {
    try (World w = new World(true)) {
      Stepper.Limits limits = Stepper.Limits.micro(2).loss(3L * VOCAB * Float.BYTES);
      Map<String, float[]> first = w.gradients(limits);
      Map<String, float[]> second = w.gradients(limits);
      first.forEach((name, g) -> assertThat(second.get(name)).as(name).isEqualTo(g));
    }
  }

  @Test
  void lossesAndTheirGradientAreEqualToTheBitHoweverRowsAreCut() {
    TrainBench.Shape shape = shape(false);
    Losses losses = losses(shape);
    List<Example> batch = examples(shape);
    List<Item> items = batch.stream().map(Example::item).toList();
    List<Signals> teacher = batch.stream().map(Example::signals).toList();
    Losses.Norms norms = losses.norms(batch);
    RowLosses whole = losses.rows(items, teacher, VOCAB, norms, BETA);
    float[] logits = new float[whole.rows() * VOCAB];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) (3 * Hash.gaussian(5, i));
    }
    float[] expected = whole.apply(logits.clone());
    Losses.Total total = new Losses.Total();
    whole.addTo(total);
    for (int step : new int[] {1, 4, 7, 34}) {
      RowLosses cut = losses.rows(items, teacher, VOCAB, norms, BETA);
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment memory = arena.allocateFrom(ValueLayout.JAVA_FLOAT, logits);
        for (int at = 0; at < cut.rows(); at += step) {
          int count = Math.min(step, cut.rows() - at);
          long row = (long) VOCAB * Float.BYTES;
          cut.apply(memory.asSlice(at * row, count * row), at, count);
        }
        assertThat(memory.toArray(ValueLayout.JAVA_FLOAT)).isEqualTo(expected);
      }
      Losses.Total own = new Losses.Total();
      cut.addTo(own);
      assertThat(own.ce).isEqualTo(total.ce);
      assertThat(own.gdkd).isEqualTo(total.gdkd);
    }
  }

  @Test
  void aLogitThatIsNotFiniteIsRefusedWithTheExamples() {
    try (World w = new World(false)) {
      float[] head = w.parameters.latent("language_model.lm_head.weight");
      head[7] = Float.NaN;
      Stepper.Limits limits = Stepper.Limits.micro(0).loss(1);
      assertThatThrownBy(() -> w.gradients(limits))
          .isInstanceOf(GraceException.class)
          .hasMessageContaining("test: the loss is not finite; examples [bench-0");
    }
  }

  @Test
  void theMemoryIsARecipesOrTheDefault() {
    assertThat(Stepper.Limits.of(Training.getDefaultInstance()).lossBytes()).isEqualTo(256L << 20);
    assertThat(
            Stepper.Limits.of(
                Training.newBuilder().setMicroBatchExamples(3).setLossMemoryMb(2).build()))
        .isEqualTo(new Stepper.Limits(3, 2L << 20, false));
  }
}
