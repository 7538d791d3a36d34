package io.gracebeam.worker.methods.export;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.Generated;
import io.gracebeam.worker.methods.model.Generator;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.model.Prompt;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.text.Turn;
import io.gracebeam.worker.methods.training.Prepare;
import io.gracebeam.worker.methods.training.TinyWorld;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Folders with zero points: what is written, that it is read back, and what it computes. */
class ZeroPointExportTest {
  @TempDir static Path root;
  private static Path data;
  private static Path student;

  @BeforeAll
  static void prepare() throws IOException {
    data = TinyWorld.dataset(root.resolve("data"), 12);
    Path made = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 5, 20), data, 3, made, Progress.NONE);
    student = Files2.modelFolder(made);
  }

  private static Variant.Builder variant(int bits, int group) {
    return TinyWorld.variant(bits, group).toBuilder().setSymmetric(false);
  }

  private static Path export(String name, String format, String quantizer, Variant v) {
    Path out = root.resolve(name);
    Exporter.run(
        ExportWork.newBuilder().setFormat(format).setScales(quantizer).setVariant(v).build(),
        Map.of("model", student),
        out,
        Progress.NONE);
    return out;
  }

  @ParameterizedTest
  @CsvSource({"4, 8, rtn", "3, 16, mse", "2, 8, rtn", "8, -1, rtn", "4, -1, mse"})
  void packedFoldersComputeWhatTheirNumbersSay(int bits, int group, String quantizer)
      throws IOException {
    String name = quantizer + bits + group;
    Variant v = variant(bits, group).setHeadBits(8).setVisionBits(8).setProjectorBits(8).build();
    Path packed = export("packed-" + name, "pack-quantized", quantizer, v);
    Path dense = export("dense-" + name, "dense", quantizer, v);
    JsonNode groups =
        new ObjectMapper()
            .readTree(packed.resolve("config.json").toFile())
            .at("/quantization_config/config_groups");
    assertThat(groups).hasSize(4);
    groups.forEach(
        g -> assertThat(g.at("/weights/symmetric").asBoolean(true)).as(g.toString()).isFalse());
    Map<String, Tensor> tensors = Llava.tensors(packed);
    Map<String, Tensor> numbers = Llava.tensors(dense);
    Map<String, PackedWeight> weights = PackedModel.packedWeights(Scheme.read(packed, 8), tensors);
    weights.forEach(
        (weight, w) -> {
          assertThat(w.symmetric()).as(weight).isFalse();
          assertThat(tensors.get(weight + "_zero_point").shape())
              .containsExactly((w.rows() * w.bits() + 31) / 32, w.cols() / w.groupSize());
          assertThat(w.dequantize()).as(weight).isEqualTo(numbers.get(weight).floats());
        });
    assertThat(weights).hasSize(2 * 7 + 1 + 12 + 2);
    Generated a = answer(packed);
    Generated b = answer(dense);
    assertThat(a.ids()).isEqualTo(b.ids());
    assertThat(a.logProbs()).containsExactly(b.logProbs(), within(5e-3f));
  }

  private static Generated answer(Path folder) throws IOException {
    Prompt prompt =
        new Prompt(
            List.of(data.resolve("images/000000.png")), List.of(new Turn("what is there?", "")));
    try (VisionLanguageModel model = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder));
        InputMaker inputs = Llava.inputs(folder)) {
      Generator generator = new Generator(model, inputs);
      return generator.generate(List.of(prompt), 4).getFirst();
    }
  }

  @Test
  void zeroPointsLoseLessOfTheWeights() {
    ModelParameters parameters = Llava.config(student).parameters();
    Map<String, Tensor> original = Llava.tensors(student);
    Map<String, Tensor> with = Llava.tensors(export("with", "dense", "rtn", variant(3, 8).build()));
    Variant symmetric = variant(3, 8).setSymmetric(true).build();
    Map<String, Tensor> without = Llava.tensors(export("without", "dense", "rtn", symmetric));
    double a = 0;
    double b = 0;
    for (Map.Entry<String, Tensor> e : original.entrySet()) {
      if (parameters.linearPart(e.getKey()).equals(Optional.of(Part.DECODER))) {
        a += error(e.getValue(), with.get(e.getKey()));
        b += error(e.getValue(), without.get(e.getKey()));
      }
    }
    assertThat(a).isPositive().isLessThan(0.9 * b);
  }

  private static double error(Tensor a, Tensor b) {
    float[] x = a.floats();
    float[] y = b.floats();
    double sum = 0;
    for (int i = 0; i < x.length; i++) {
      sum += Math.pow(x[i] - y[i], 2);
    }
    return sum;
  }

  @Test
  void zeroPointsThatAreMissingOrOfAnotherShapeAreRefused() throws IOException {
    Path folder = export("incomplete", "pack-quantized", "rtn", variant(4, 8).build());
    SortedMap<String, Tensor> good = new TreeMap<>(Llava.tensors(folder));
    String name = "language_model.model.layers.1.mlp.up_proj.weight_zero_point";
    assertThat(good).containsKey(name);
    Tensor two = Tensor.of(new long[] {2, 1}, new int[] {1, 2});
    for (Tensor other : new Tensor[] {null, two}) {
      SortedMap<String, Tensor> bad = new TreeMap<>(good);
      bad.remove(name);
      if (other != null) {
        bad.put(name, other);
      }
      CheckpointWriter.write(folder, bad);
      assertThatThrownBy(() -> PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder)))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
          .hasMessageContaining("mlp.up_proj");
    }
  }

  @Test
  void whatAnExportCannotDoIsRefused() {
    assertThatThrownBy(() -> export("order", "pack-quantized", "reversed-columns", symmetric()))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining("a column order, which pack-quantized cannot hold");
    assertThat(export("order-dense", "dense", "reversed-columns", symmetric())).isDirectory();
    assertThatThrownBy(() -> export("needs", "dense", "needs-calibration", symmetric()))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining("needs second moments of inputs");
  }

  private static Variant symmetric() {
    return variant(4, 8).setSymmetric(true).build();
  }
}
