package io.gracebeam.worker.methods.export;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.Batch;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.Generated;
import io.gracebeam.worker.methods.model.Generator;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.Prompt;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.text.Turn;
import io.gracebeam.worker.methods.training.Prepare;
import io.gracebeam.worker.methods.training.TinyWorld;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Head, vision tower, projector and cache of fewer bits: what is written, and what it computes. */
class LayoutsTest {
  private static final String HEAD = "language_model.lm_head.weight";
  private static final String EMBEDDING = "language_model.model.embed_tokens.weight";

  @TempDir static Path root;
  private static Path data;
  private static Path student;

  @BeforeAll
  static void prepare() throws IOException {
    data = TinyWorld.dataset(root.resolve("data"), 24);
    Path made = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 10, 30), data, 3, made, Progress.NONE);
    student = Files2.modelFolder(made);
  }

  private static Variant.Builder variant() {
    return TinyWorld.variant(4, 8).toBuilder();
  }

  private static Variant all8() {
    return variant().setHeadBits(8).setVisionBits(8).setProjectorBits(8).setKvBits(8).build();
  }

  private static Path export(String name, Path from, String format, Variant v) {
    Path out = root.resolve(name);
    Exporter.run(
        ExportWork.newBuilder().setFormat(format).setScales("rtn").setVariant(v).build(),
        Map.of("model", from),
        out,
        Progress.NONE);
    return out;
  }

  private static JsonNode config(Path folder) throws IOException {
    return new ObjectMapper()
        .readTree(folder.resolve("config.json").toFile())
        .path("quantization_config");
  }

  /** Logits of one pass behind the last image token. */
  private static float[] logits(VisionLanguageModel model) {
    LlavaConfig c = (LlavaConfig) model.config();
    int n = c.imageTokens();
    long[] ids = new long[n + 4];
    Arrays.fill(ids, 1, n + 1, c.imageToken());
    for (int i = n + 1; i < ids.length; i++) {
      ids[i] = 5 + i % 3;
    }
    int side = c.vision().imageSize();
    float[] pixels = new float[3 * side * side];
    for (int i = 0; i < pixels.length; i++) {
      pixels[i] = (i * 37 % 101) / 50f - 1;
    }
    Batch batch = Llava.batch(c, pixels, new long[][] {ids}, new int[][] {{n + 1, n + 2, n + 3}});
    try (NDManager manager = model.manager().newSubManager();
        Forward f = model.forward(manager, batch)) {
      return f.logits().toFloatArray();
    }
  }

  private static double distance(float[] a, float[] b) {
    double most = 0;
    for (int i = 0; i < a.length; i++) {
      most = Math.max(most, Math.abs(a[i] - b[i]));
    }
    return most;
  }

  @Test
  void groupsTargetsAndCacheStandInTheConfiguration() throws IOException {
    JsonNode q = config(export("config-all8", student, "pack-quantized", all8()));
    assertThat(q.path("ignore")).isEmpty();
    JsonNode groups = q.path("config_groups");
    assertThat(groups).hasSize(4);
    assertThat(groups.at("/group_0/targets/0").asText()).isEqualTo("Linear");
    assertThat(groups.at("/group_0/weights/num_bits").asInt()).isEqualTo(4);
    for (int i = 1; i < 4; i++) {
      JsonNode weights = groups.path("group_" + i).path("weights");
      assertThat(weights.path("num_bits").asInt()).isEqualTo(8);
      assertThat(weights.path("group_size").asInt()).isEqualTo(8);
      assertThat(groups.path("group_" + i).path("targets").path(0).asText()).startsWith("re:");
    }
    assertThat(q.at("/kv_cache_scheme/num_bits").asInt()).isEqualTo(8);
    assertThat(q.at("/kv_cache_scheme/group_size").asInt()).isEqualTo(8); // the head's width
    assertThat(q.at("/kv_cache_scheme/dynamic").asBoolean()).isTrue();

    // Without the options the block is what it was before there were any.
    JsonNode plain = config(export("config-plain", student, "pack-quantized", variant().build()));
    assertThat(plain)
        .isEqualTo(
            new ObjectMapper()
                .readTree(
                    """
                    {"quant_method": "compressed-tensors", "format": "pack-quantized",
                     "quantization_status": "compressed",
                     "ignore": ["lm_head", "re:.*lm_head.*", "re:.*vision_tower.*",
                                "re:.*multi_modal_projector.*"],
                     "kv_cache_scheme": null,
                     "config_groups": {"group_0": {"targets": ["Linear"],
                       "input_activations": null, "output_activations": null,
                       "weights": {"num_bits": 4, "type": "int", "symmetric": true,
                                   "strategy": "group", "group_size": 8, "dynamic": false}}}}
                    """));
  }

  @Test
  void theOptionsChangeNothingElse() {
    Map<String, Tensor> plain =
        Llava.tensors(export("plain", student, "pack-quantized", variant().build()));
    Map<String, Tensor> all = Llava.tensors(export("all", student, "pack-quantized", all8()));
    int packed = 0;
    for (Map.Entry<String, Tensor> e : plain.entrySet()) {
      if (all.containsKey(e.getKey())) {
        assertThat(all.get(e.getKey()).data()).as(e.getKey()).isEqualTo(e.getValue().data());
      } else {
        assertThat(Llava.config(student).parameters().linearPart(e.getKey()))
            .as(e.getKey())
            .isPresent();
        assertThat(all).containsKeys(e.getKey() + "_packed", e.getKey() + "_scale");
        packed++;
      }
    }
    assertThat(packed).isEqualTo(1 + 2 * 6 + 2); // head, six linears of two blocks, projector
    assertThat(all).hasSize(plain.size() + 2 * packed);
  }

  /**
   * A group size that divides the decoder's widths and not the tower's: one scale per row there.
   */
  @Test
  void groupsThatDoNotDivideBecomeRows() throws IOException {
    Variant v = variant().setGroupSize(32).setHeadBits(4).setVisionBits(8).build();
    assertThatThrownBy(() -> export("rows-no", student, "pack-quantized", v))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining("group_size 32 does not divide");
    JsonNode rows =
        config(
            export(
                "rows",
                student,
                "pack-quantized",
                variant().setGroupSize(-1).setHeadBits(4).setVisionBits(8).build()));
    for (JsonNode group : rows.path("config_groups")) {
      assertThat(group.at("/weights/strategy").asText()).isEqualTo("channel");
      assertThat(group.at("/weights/group_size").isNull()).isTrue();
    }
    assertThat(rows.path("config_groups")).hasSize(3);
    assertThat(rows.path("ignore")).hasSize(1);
  }

  /**
   * The packed model against the same values as plain numbers: only inputs are rounded, to 16 bits,
   * a relative error of 1.5e-5 for each product.
   */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void packedPartsComputeWhatTheirNumbersSay(boolean tied) throws IOException {
    Path from = tied ? tiedStudent() : student;
    Variant v = all8();
    try (VisionLanguageModel packed =
            PackedModel.load(
                TinyWorld.ENGINE,
                ModelFolder.open(export("packed-" + tied, from, "pack-quantized", v)));
        VisionLanguageModel dense =
            Llava.load(TinyWorld.ENGINE, export("dense-" + tied, from, "dense", v));
        VisionLanguageModel original = Llava.load(TinyWorld.ENGINE, from)) {
      assertThat(packed.config().tied()).isFalse();
      // The embedding table is no array of the engine: it stays in its file.
      assertThat(packed.parameters()).hasSize(parameters(packed.config()) - 1);
      assertThat(packed.parameters()).doesNotContainKey(EMBEDDING);
      assertThat(dense.parameters()).doesNotContainKey(EMBEDDING);
      assertThat(original.parameters().containsKey(EMBEDDING)).isEqualTo(tied);
      float[] a = logits(packed);
      float[] b = logits(dense);
      assertThat(distance(a, b)).isLessThan(2e-3);
      assertThat(distance(b, logits(original))).isGreaterThan(2e-3);
    }
  }

  private static int parameters(ModelConfig config) {
    return (int)
        config.parameters().all().stream().filter(p -> !p.is(ModelParameter.Trait.LINEAR)).count();
  }

  /** The student with its embedding table as its head. */
  private static Path tiedStudent() throws IOException {
    Path out = Files.createDirectories(root.resolve("tied"));
    LlavaConfig c = Llava.config(student);
    LlavaConfig tied =
        new LlavaConfig(
            c.vision(),
            c.text(),
            c.imageToken(),
            c.imageTokens(),
            c.featureLayer(),
            c.dropClass(),
            c.bosToken(),
            c.eosToken(),
            c.padToken(),
            c.projectorBias(),
            true);
    tied.write(out);
    SortedMap<String, Tensor> tensors = new TreeMap<>(Llava.tensors(student));
    tensors.put(EMBEDDING, tensors.remove(HEAD));
    CheckpointWriter.write(out, tensors);
    Files2.copySideFiles(student, out);
    return out;
  }

  /**
   * A head of 8 bits moves no logit by more than half a step for each input: a normed state's
   * absolute values add up to at most width * max|norm weight|.
   */
  @Test
  void eightBitsOfTheHeadCostHalfAStepForEachInput() {
    Variant v = variant().setHeadBits(8).build();
    Path folder = export("head8", student, "dense", v);
    Path plain = export("head16", student, "dense", variant().build());
    Map<String, Tensor> tensors = Llava.tensors(plain);
    float[] head = tensors.get(HEAD).floats();
    float[] norm = tensors.get("language_model.model.norm.weight").floats();
    double step = most(head) / 127;
    double bound = norm.length * most(norm) * step / 2;
    try (VisionLanguageModel a = Llava.load(TinyWorld.ENGINE, folder);
        VisionLanguageModel b = Llava.load(TinyWorld.ENGINE, plain)) {
      double moved = distance(logits(a), logits(b));
      assertThat(moved).isPositive().isLessThan(bound * 1.001 + 1e-4);
    }
  }

  private static double most(float[] values) {
    double most = 0;
    for (float v : values) {
      most = Math.max(most, Math.abs(v));
    }
    return most;
  }

  /** Generation with everything packed: the decoder in C against the engine on the same weights. */
  @ParameterizedTest
  @CsvSource({"8, 16, 2e-2", "8, 8, 1e-1", "4, 16, 2e-2"})
  void answersAreThoseOfTheEngine(int headBits, int kvBits, float tolerance) {
    Assumptions.assumeTrue(KernelProvider.best().name().equals("native"), "without native kernels");
    Variant v = all8().toBuilder().setHeadBits(headBits).setKvBits(kvBits).build();
    Path folder = export("answers-" + headBits + "-" + kvBits, student, "pack-quantized", v);
    try (VisionLanguageModel model = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder));
        InputMaker inputs = Llava.inputs(folder)) {
      Generator generator = new Generator(model, inputs);
      List<Prompt> prompts = new ArrayList<>();
      for (int i = 0; i < 5; i++) {
        prompts.add(
            new Prompt(
                List.of(data.resolve("images/%06d.png".formatted(i))),
                List.of(new Turn("what is there?", ""))));
      }
      List<Generated> packed = generator.generate(prompts, 4);
      model.setPacked(null, 16);
      List<Generated> engine = generator.generate(prompts, 4);
      for (int i = 0; i < prompts.size(); i++) {
        // The first token's log-probability is that of equal prompts, whatever comes after.
        assertThat(packed.get(i).logProbs()[0])
            .isCloseTo(engine.get(i).logProbs()[0], within(tolerance));
      }
    }
  }

  @Test
  void foldersThatContradictThemselvesAreRefused() throws IOException {
    Path folder = export("broken", student, "pack-quantized", all8());
    Path file = folder.resolve("config.json");
    String good = Files.readString(file);
    for (String[] change :
        new String[][] {
          {"\"re:.*lm_head$\"", "\"re:((.+)+)+!$\"", "no regular expression that can be"},
          {"\"re:.*lm_head$\"", "\"re:(\"", "no regular expression that can be"},
          {"\"dynamic\" : true", "\"dynamic\" : false", "kv_cache_scheme"},
          {"\"num_bits\" : 4", "\"num_bits\" : 8", "words"},
        }) {
      assertThat(good).contains(change[0]);
      Files.writeString(file, good.replace(change[0], change[1]));
      assertThatThrownBy(() -> PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder)))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
          .hasMessageContaining(change[2]);
    }
  }

  /** What the decoder in C holds, and the table in its file, are checked like all the rest. */
  @Test
  void tensorsThatAreMissingOrOfAnotherShapeAreRefused() throws IOException {
    Path folder = export("incomplete", student, "pack-quantized", variant().build());
    SortedMap<String, Tensor> good = new TreeMap<>(Llava.tensors(folder));
    Tensor two = Tensor.of(new long[] {2, 1}, new float[] {1, 2});
    String scale = "language_model.model.layers.1.mlp.up_proj.weight_scale";
    for (String name : new String[] {HEAD, EMBEDDING, scale}) {
      assertThat(good).containsKey(name);
      for (Tensor other : new Tensor[] {null, two}) {
        SortedMap<String, Tensor> bad = new TreeMap<>(good);
        if (other == null) {
          bad.remove(name);
        } else {
          bad.put(name, other);
        }
        CheckpointWriter.write(folder, bad);
        assertThatThrownBy(() -> PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder)))
            .isInstanceOfSatisfying(
                GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA));
      }
    }
    CheckpointWriter.write(folder, good);
    try (VisionLanguageModel model = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder))) {
      assertThat(model.parameters()).doesNotContainKey(EMBEDDING);
    }
  }

  @Test
  void rowsOfAPackedWeightAreThoseOfTheWhole() {
    Map<String, Tensor> tensors = Llava.tensors(export("row", student, "pack-quantized", all8()));
    Map<String, PackedWeight> packed =
        PackedModel.packedWeights(Scheme.read(root.resolve("row"), 8), tensors);
    assertThat(packed).hasSize(2 * 7 + 15);
    PackedWeight w = packed.get(HEAD);
    float[] row = new float[w.cols() + 3];
    for (int r = 0; r < w.rows(); r++) {
      w.row(r, row, 2);
      assertThat(Arrays.copyOfRange(row, 2, 2 + w.cols()))
          .containsExactly(Arrays.copyOfRange(w.dequantize(), r * w.cols(), (r + 1) * w.cols()));
    }
    assertThatThrownBy(() -> w.row(w.rows(), row, 0)).hasMessageContaining("row is");
  }
}
