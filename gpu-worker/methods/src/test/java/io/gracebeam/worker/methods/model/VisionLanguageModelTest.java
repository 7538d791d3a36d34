package io.gracebeam.worker.methods.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.training.GradientCollector;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.checkpoint.Safetensors;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.training.TinyWorld;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VisionLanguageModelTest {
  private static final Path GOLDENS = Path.of("src/test/resources/goldens");
  private static final Path TINY = GOLDENS.resolve("tiny-llava");
  private static final EngineHandle ENGINE = TinyWorld.ENGINE;
  private static final String ANY_OTHER = "language_model.model.layers.0.self_attn.k_proj.weight";

  private static final String EMBEDDING = "language_model.model.embed_tokens.weight";
  private static final String HEAD = "language_model.lm_head.weight";

  private static JsonNode cases() throws Exception {
    return new ObjectMapper().readTree(GOLDENS.resolve("forward.json").toFile());
  }

  private static float[] floats(JsonNode node) {
    float[] out = new float[node.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = node.get(i).floatValue();
    }
    return out;
  }

  private static long[] longs(JsonNode node) {
    long[] out = new long[node.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = node.get(i).longValue();
    }
    return out;
  }

  private static Batch batch(JsonNode c, int... rows) {
    return Llava.batch(
        Llava.config(TINY),
        floats(c.get("pixels")),
        new long[][] {longs(c.get("ids"))},
        new int[][] {rows});
  }

  private static int[] range(int n) {
    int[] out = new int[n];
    Arrays.setAll(out, i -> i);
    return out;
  }

  private static void checkGoldens(VisionLanguageModel model) throws Exception {
    for (JsonNode c : cases()) {
      long[] ids = longs(c.get("ids"));
      try (NDManager manager = model.manager().newSubManager()) {
        Forward forward = model.forward(manager, batch(c, range(ids.length)));
        assertThat(forward.logits().toFloatArray())
            .containsExactly(floats(c.get("logits")), Offset.offset(1e-4f));
        assertThat(forward.visualStates().toFloatArray())
            .containsExactly(floats(c.get("visual_states")), Offset.offset(1e-4f));
      }
    }
  }

  @Test
  void givesTheLogitsOfTransformers() throws Exception {
    try (VisionLanguageModel model = Llava.load(ENGINE, TINY)) {
      checkGoldens(model);
      int before = model.manager().getManagedArrays().size();
      checkGoldens(model);
      assertThat(model.manager().getManagedArrays()).hasSize(before);
    }
  }

  @Test
  void givesTheGreedyTokensOfTransformersInOnePaddedBatch() throws Exception {
    JsonNode cases = cases();
    List<ModelInput> prompts = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      JsonNode c = cases.get(i);
      prompts.add(Llava.input(Llava.config(TINY), floats(c.get("pixels")), longs(c.get("ids"))));
    }
    try (VisionLanguageModel model = Llava.load(ENGINE, TINY)) {
      var out = new Generator(model, null).generate(Batch.prompts(prompts, 0), 32);
      for (int i = 0; i < 2; i++) {
        assertThat(Arrays.stream(out.get(i).ids()).asLongStream().toArray())
            .isEqualTo(longs(cases.get(i).get("greedy")));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"hub", "v4.52", "v5", "v5-disk"})
  void readsAllNameGenerations(String generation, @TempDir Path dir) throws Exception {
    TreeMap<String, Tensor> renamed = new TreeMap<>();
    Llava.tensors(TINY).forEach((name, tensor) -> renamed.put(rename(name, generation), tensor));
    Files.copy(TINY.resolve("config.json"), dir.resolve("config.json"));
    Safetensors.write(dir.resolve("model.safetensors"), renamed);
    try (VisionLanguageModel model = Llava.load(ENGINE, dir)) {
      checkGoldens(model);
    }
  }

  private static String rename(String name, String generation) {
    String out = name;
    if (generation.equals("v5") || generation.equals("v5-disk")) {
      out = out.replace("vision_tower.vision_model.", "vision_tower.");
    }
    if (generation.equals("v4.52") || generation.equals("v5")) {
      if (out.startsWith("language_model.lm_head")) {
        return out.substring("language_model.".length());
      }
      out = "model." + out.replace("language_model.model.", "language_model.");
    }
    return out;
  }

  /** An embedding table in its file gives what one in memory gives, to the bit. */
  @Test
  void embeddingsMayStayInTheirFile() throws Exception {
    LlavaConfig config = Llava.config(TINY);
    Map<String, float[]> values = new HashMap<>();
    Llava.tensors(TINY).forEach((name, tensor) -> values.put(name, tensor.floats()));
    JsonNode c = cases().get(0);
    try (VisionLanguageModel inMemory = VisionLanguageModel.create(ENGINE, config, values);
        VisionLanguageModel inFile = Llava.load(ENGINE, TINY)) {
      assertThat(inMemory.parameters()).containsKey(EMBEDDING);
      assertThat(inFile.parameters()).doesNotContainKey(EMBEDDING);
      assertThat(inFile.parameters()).hasSize(inMemory.parameters().size() - 1);
      assertThat(logits(inFile, c)).containsExactly(logits(inMemory, c));
      // Another table is refused, and a table of other numbers changes the answer.
      assertThatThrownBy(
              () -> inMemory.setTable(ModelFolder.open(TINY).checkpoint().rows(ANY_OTHER)))
          .isInstanceOf(GraceException.class)
          .hasMessageContaining("its config.json calls for");
      inMemory.setTable(ModelFolder.open(TINY).checkpoint().rows(HEAD));
      assertThat(logits(inMemory, c)).isNotEqualTo(logits(inFile, c));
      inMemory.setTable(null);
      assertThat(logits(inMemory, c)).containsExactly(logits(inFile, c));
    }
  }

  private static float[] logits(VisionLanguageModel model, JsonNode c) {
    long[] ids = longs(c.get("ids"));
    try (NDManager manager = model.manager().newSubManager()) {
      return model.forward(manager, batch(c, range(ids.length))).logits().toFloatArray();
    }
  }

  @Test
  void savedModelsReadBackEqual(@TempDir Path dir) throws Exception {
    try (VisionLanguageModel model = Llava.load(ENGINE, TINY)) {
      model.save(dir);
      assertThat(Llava.config(dir)).isEqualTo(model.config());
    }
    try (VisionLanguageModel model = Llava.load(ENGINE, dir)) {
      checkGoldens(model);
    }
  }

  @Test
  void gradientsAgreeWithFiniteDifferences() throws Exception {
    JsonNode c = cases().get(0);
    LlavaConfig config = Llava.config(TINY);
    Map<String, float[]> values = new HashMap<>();
    Llava.tensors(TINY).forEach((name, tensor) -> values.put(name, tensor.floats()));
    for (String name :
        new String[] {
          "language_model.model.layers.0.self_attn.k_proj.weight",
          "multi_modal_projector.linear_1.weight",
          "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"
        }) {
      float gradient;
      try (VisionLanguageModel model = VisionLanguageModel.create(ENGINE, config, values)) {
        NDArray weight = model.parameters().get(name);
        weight.setRequiresGradient(true);
        try (GradientCollector collector = ENGINE.engine().newGradientCollector()) {
          collector.backward(loss(model, c));
        }
        gradient = weight.getGradient().toFloatArray()[3];
      }
      float step = 1e-2f;
      double[] sides = new double[2];
      for (int side = 0; side < 2; side++) {
        Map<String, float[]> moved = new HashMap<>(values);
        float[] w = values.get(name).clone();
        w[3] += side == 0 ? step : -step;
        moved.put(name, w);
        try (VisionLanguageModel model = VisionLanguageModel.create(ENGINE, config, moved)) {
          sides[side] = loss(model, c).getFloat();
        }
      }
      double numeric = (sides[0] - sides[1]) / (2 * step);
      assertThat(Math.abs(numeric)).as(name).isGreaterThan(1e-5);
      assertThat((double) gradient)
          .as(name)
          .isCloseTo(numeric, Offset.offset(2e-3 + 0.03 * Math.abs(numeric)));
    }
  }

  private static NDArray loss(VisionLanguageModel model, JsonNode c) {
    long[] ids = longs(c.get("ids"));
    Forward forward = model.forward(model.manager(), batch(c, ids.length - 2, ids.length - 1));
    return forward.logits().get(":, 9").sum().add(forward.visualStates().get("..., 0").sum());
  }

  @Test
  void setLinearReplacesAProduct() throws Exception {
    String name = "language_model.model.layers.1.mlp.down_proj.weight";
    try (VisionLanguageModel model = Llava.load(ENGINE, TINY)) {
      assertThat(model.quantizableWeights()).hasSize(14).contains(name);
      NDArray weight = model.parameters().get(name);
      model.setLinear(name, x -> x.matMul(weight.transpose()));
      checkGoldens(model);
      model.setLinear(name, x -> x.matMul(weight.transpose()).mul(2f));
      assertThatThrownBy(() -> checkGoldens(model)).isInstanceOf(AssertionError.class);
      model.setLinear(name, null);
      checkGoldens(model);
    }
  }

  @Test
  void refusesPlaceholdersThatDoNotFit() {
    try (VisionLanguageModel model = Llava.load(ENGINE, TINY);
        NDManager manager = model.manager().newSubManager()) {
      LlavaConfig config = (LlavaConfig) model.config();
      long image = config.imageToken();
      Batch batch =
          Llava.batch(
              config,
              new float[3 * 28 * 28],
              new long[][] {{1, image, image, image, 9}},
              new int[][] {{4}});
      assertThatThrownBy(() -> model.forward(manager, batch))
          .isInstanceOf(GraceException.class)
          .hasMessageContaining("3 image tokens but its images give 4");
    }
  }
}
