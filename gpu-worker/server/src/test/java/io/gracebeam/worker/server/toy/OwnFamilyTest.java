package io.gracebeam.worker.server.toy;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.methods.model.Batch;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.model.PixelCache;
import io.gracebeam.worker.methods.model.TrainingPass;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.training.Prepare;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Batches with any number of images of any size, through all passes of a model. */
class OwnFamilyTest {
  private static final EngineHandle ENGINE =
      Engines.open(
          EngineSettings.newBuilder()
              .setName(Engines.LIBTORCH)
              .setThreads(2)
              .setDevice("cpu")
              .setCompute("float32")
              .build());
  private static final int TILE = 2;

  private static MosaicConfig config(boolean deep) {
    return new MosaicConfig(
        new DecoderSizes(23, 16, 3, 2, 2, 8, 24, 64, 1e-5, 10000), TILE, 12, deep, false);
  }

  private static VisionLanguageModel model(boolean deep) {
    MosaicConfig config = config(deep);
    return VisionLanguageModel.createForTraining(ENGINE, config, Prepare.initial(config, 5));
  }

  private static ModelImage image(int rows, int columns, int tokens) {
    Random random = new Random(rows * 10L + columns);
    float[] values = new float[rows * columns * 3 * TILE * TILE];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return new ModelImage(
        PixelCache.of(values),
        new long[] {(long) rows * columns, 3L * TILE * TILE},
        new ModelImage.Grid(1, rows, columns),
        tokens);
  }

  /** Two words, then each image with a word behind it, then words up to a length. */
  private static ModelInput input(int length, ModelImage... images) {
    long[] ids = new long[length];
    Arrays.setAll(ids, i -> 5 + i % 7);
    List<ModelInput.Placed> placed = new ArrayList<>();
    int at = 2;
    for (ModelImage image : images) {
      Arrays.fill(ids, at, at + image.tokens(), 3);
      placed.add(new ModelInput.Placed(image, at));
      at += image.tokens() + 1;
    }
    int[][] axes = new int[3][length];
    for (int a = 0; a < 3; a++) {
      for (int i = 0; i < length; i++) {
        axes[a][i] = i + (i % (a + 1));
      }
    }
    return new ModelInput(ids, new boolean[length], placed, axes, length + 2);
  }

  private static final ModelImage SHARED = image(2, 3, 6);

  private static List<ModelInput> inputs() {
    return List.of(
        input(14, SHARED), input(9), input(20, image(1, 2, 2), SHARED), input(18, image(4, 2, 8)));
  }

  private static int[][] rows(List<ModelInput> inputs) {
    return inputs.stream()
        .map(i -> new int[] {i.ids().length - 2, i.ids().length - 1})
        .toArray(int[][]::new);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aBatchGivesWhatItsExamplesGiveAlone(boolean deep) {
    List<ModelInput> inputs = inputs();
    Batch batch = Batch.of(inputs, rows(inputs), 4);
    assertThat(batch.images()).hasSize(3);
    assertThat(batch.visualRows()).isEqualTo(6 + 2 + 8);
    assertThat(batch.visualStates()).isEqualTo(6 + 2 + 6 + 8);
    try (VisionLanguageModel model = model(deep);
        NDManager manager = model.manager().newSubManager();
        Forward all = model.forward(manager, batch)) {
      float[] logits = all.logits().toFloatArray();
      float[] states = all.visualStates().toFloatArray();
      int visual = 0;
      for (int b = 0; b < inputs.size(); b++) {
        List<ModelInput> one = List.of(inputs.get(b));
        try (Forward alone = model.forward(manager, Batch.of(one, rows(one), 4))) {
          float[] own = alone.logits().toFloatArray();
          assertThat(Arrays.copyOfRange(logits, b * own.length, (b + 1) * own.length))
              .as("logits of example %d", b)
              .containsExactly(own, within(1e-4f));
          if (inputs.get(b).images().isEmpty()) {
            assertThat(alone.visualStates()).isNull();
            continue;
          }
          float[] seen = alone.visualStates().toFloatArray();
          assertThat(Arrays.copyOfRange(states, visual, visual + seen.length))
              .as("visual states of example %d", b)
              .containsExactly(seen, within(1e-4f));
          visual += seen.length;
        }
      }
      assertThat(visual).isEqualTo(states.length);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void checkpointsGiveTheGradientsOfAWholePass(boolean deep) {
    Map<String, float[]> whole = gradients(deep, false);
    Map<String, float[]> cut = gradients(deep, true);
    assertThat(cut.keySet()).isEqualTo(whole.keySet());
    whole.forEach(
        (name, values) -> {
          assertThat(values).as(name).isNotEqualTo(new float[values.length]);
          assertThat(cut.get(name)).as(name).containsExactly(values, within(1e-4f));
        });
  }

  private static Map<String, float[]> gradients(boolean deep, boolean checkpoints) {
    Map<String, float[]> out = new LinkedHashMap<>();
    List<ModelInput> inputs = inputs();
    Batch batch = Batch.of(inputs, rows(inputs), 4);
    try (VisionLanguageModel model = model(deep);
        GradientCollector collector = ENGINE.engine().newGradientCollector();
        NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      Map<String, NDArray> trained = new LinkedHashMap<>(model.parameters());
      trained.remove(model.config().names().head()); // it comes behind the pass
      trained.values().forEach(a -> a.setRequiresGradient(true));
      TrainingPass pass =
          checkpoints ? model.checkpointedPass(manager, batch) : model.trainingPass(manager, batch);
      pass.backward(collector, pass.rows().stopGradient(), pass.visualStates().stopGradient());
      trained.forEach((name, array) -> out.put(name, array.getGradient().toFloatArray()));
    }
    return out;
  }

  @Test
  void rowsOfDeeperBlocksChangeTheResult() {
    List<ModelInput> inputs = List.of(input(14, SHARED));
    Batch batch = Batch.of(inputs, rows(inputs), 4);
    MosaicConfig config = config(true);
    Map<String, float[]> values = Prepare.initial(config, 5);
    float[] bridge = values.get("bridge.weight").clone();
    Arrays.fill(bridge, bridge.length / 2, bridge.length, 0f);
    Map<String, float[]> without = new LinkedHashMap<>(values);
    without.put("bridge.weight", bridge);
    Map<String, float[]> plain = new LinkedHashMap<>(values);
    plain.put("bridge.weight", Arrays.copyOf(bridge, bridge.length / 2));
    try (VisionLanguageModel deep = VisionLanguageModel.create(ENGINE, config, values);
        VisionLanguageModel zero = VisionLanguageModel.create(ENGINE, config, without);
        VisionLanguageModel none = VisionLanguageModel.create(ENGINE, config(false), plain);
        Forward a = deep.forward(deep.manager(), batch);
        Forward b = zero.forward(zero.manager(), batch);
        Forward c = none.forward(none.manager(), batch)) {
      assertThat(b.logits().toFloatArray())
          .containsExactly(c.logits().toFloatArray(), within(1e-5f));
      assertThat(a.logits().toFloatArray()).isNotEqualTo(b.logits().toFloatArray());
    }
  }

  @Test
  void imagesWhoseTokensDoNotMatchAreRefused() {
    try (VisionLanguageModel model = model(false);
        NDManager manager = model.manager().newSubManager()) {
      // The tower gives 6 rows where the image claims 5.
      List<ModelInput> wrong = List.of(input(12, image(2, 3, 5)));
      refused("visual tokens [5]", () -> model.forward(manager, Batch.of(wrong, rows(wrong), 4)));
      // A placeholder without an image.
      ModelInput with = input(12, SHARED);
      List<ModelInput> none =
          List.of(new ModelInput(with.ids(), with.labels(), List.of(), with.positions(), 12));
      refused(
          "6 image tokens but its images give 0",
          () -> model.forward(manager, Batch.of(none, rows(none), 4)));
      // The image stands elsewhere.
      List<ModelInput> moved =
          List.of(
              new ModelInput(
                  with.ids(),
                  with.labels(),
                  List.of(new ModelInput.Placed(SHARED, 3)),
                  with.positions(),
                  12));
      refused(
          "has no 6 image tokens from token 3",
          () -> model.forward(manager, Batch.of(moved, rows(moved), 4)));
    }
  }

  private static void refused(
      String text, org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContaining(text);
  }
}
