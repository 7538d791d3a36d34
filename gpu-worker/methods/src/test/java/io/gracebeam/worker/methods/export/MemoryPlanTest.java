package io.gracebeam.worker.methods.export;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.withinPercentage;
import static org.junit.jupiter.api.Assumptions.abort;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.proto.worker.MemoryPlanner;
import io.gracebeam.proto.worker.MemoryPlanner.Question;
import io.gracebeam.proto.worker.MemoryPlanner.Row;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.kernels.Kernels;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.kernels.PackedMatrix;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelSizes;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.training.Prepare;
import io.gracebeam.worker.methods.training.TinyWorld;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Predicted memory against what loaded models take, and against published numbers of weights. */
class MemoryPlanTest {
  private static final MemoryPlan PLAN = new MemoryPlan();

  @TempDir static Path root;
  private static Path student;

  @BeforeAll
  static void prepare() throws IOException {
    Path data = TinyWorld.dataset(root.resolve("data"), 8);
    Path made = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 2, 2), data, 3, made, Progress.NONE);
    student = Files2.modelFolder(made);
  }

  /** Every layout that an export can have: what is told is what is taken, to the byte. */
  @ParameterizedTest
  @CsvSource({
    "4, 16, 16, 16, 16, 8",
    "4, 8, 16, 16, 16, 8",
    "4, 4, 16, 16, 8, 16",
    "4, 8, 8, 16, 16, -1",
    "4, 8, 8, 8, 8, 8",
    "3, 4, 8, 8, 8, 16",
    "8, 16, 16, 8, 8, 4"
  })
  void bytesAreThoseOfTheLoadedModel(
      int bits, int head, int vision, int projector, int kv, int group) {
    if (!PackedDecoder.present()) {
      abort("without native kernels");
      return;
    }
    Kernels kernels = KernelProvider.best();
    Variant v =
        TinyWorld.variant(bits, group).toBuilder()
            .setHeadBits(head)
            .setVisionBits(vision)
            .setProjectorBits(projector)
            .setKvBits(kv)
            .build();
    Path folder =
        root.resolve("x-%d-%d-%d-%d-%d-%d".formatted(bits, head, vision, projector, kv, group));
    Exporter.run(
        ExportWork.newBuilder().setFormat("pack-quantized").setScales("rtn").setVariant(v).build(),
        Map.of("model", student),
        folder,
        Progress.NONE);
    LlavaConfig config = Llava.config(folder);
    Map<String, Tensor> tensors = Llava.tensors(folder);
    Map<String, PackedWeight> packed =
        PackedModel.packedWeights(Scheme.read(folder, config.text().headDim()), tensors);
    Map<String, float[]> values = new HashMap<>();
    long outside = 0;
    ModelParameters parameters = config.parameters();
    for (String name : parameters.names()) {
      Optional<Part> part = parameters.linearPart(name);
      if (packed.containsKey(name)) {
        if (part.get() == Part.VISION || part.get() == Part.PROJECTOR) {
          try (PackedMatrix matrix = kernels.products().open(packed.get(name))) {
            outside += matrix.bytes();
          }
        }
        continue;
      }
      values.put(name, tensors.get(name).floats());
      // An embedding table stays in its file.
      outside += name.startsWith("language_model.") ? 0 : 4L * values.get(name).length;
    }
    PackedDecoder.Limits limits = new PackedDecoder.Limits(2, 37, 20, kv);
    MemoryPlan.Layout layout = new MemoryPlan.Layout("", bits, head, vision, projector, kv);
    try (PackedDecoder decoder =
            PackedDecoder.of(PackedModel.weights(config, values::get, packed::get));
        PackedDecoder.Session session = decoder.open(limits)) {
      int threads = Integer.parseInt(kernels.describe().replaceAll(".*, (\\d+) thread.*", "$1"));
      Row row = MemoryPlan.row(ModelSizes.of(folder), layout, group, limits, threads);
      assertThat(row.weights()).isEqualTo(decoder.weightBytes() + outside);
      assertThat(row.cache() + row.scratch()).isEqualTo(session.bytes());
    }
  }

  /** The checkpoints of these names hold 7,063,427,072 and 2,208,985,600 numbers of 2 bytes. */
  @ParameterizedTest
  @CsvSource({"llava-1.5-7b, 7063427072", "qwen2-vl-2b, 2208985600"})
  void publishedModelsHaveTheirSize(String name, long numbers) {
    List<Row> rows = PLAN.ofShape(name, new Question(4, 128, 2048));
    double inFile = 2.0 * ModelSizes.named(name).table();
    assertThat(rows.getFirst().weights() + inFile).isCloseTo(2.0 * numbers, withinPercentage(0.1));
    for (int i = 1; i < rows.size(); i++) {
      assertThat(rows.get(i).peak()).as(rows.get(i).layout()).isLessThan(rows.get(i - 1).peak());
    }
    // Keys and values: 2 numbers of 2 bytes for each layer, head and position; then 1 byte and
    // a float32 scale for each head's 128.
    ModelSizes sizes = ModelSizes.named(name);
    long each = 2L * sizes.decoder().layers() * sizes.decoder().kvHeads() * 2048;
    assertThat(rows.getFirst().cache()).isEqualTo(each * 128 * 2);
    assertThat(rows.getLast().cache()).isEqualTo(each * (128 + 4));
  }

  @Test
  void whatCannotBePlannedIsRefused() throws IOException {
    Path folder = Files.createDirectories(root.resolve("no-llava"));
    Files.writeString(folder.resolve("config.json"), "{\"model_type\": \"bert\"}");
    Question question = new Question(4, 128, 2048);
    refused(
        Category.USER, "'bert' is unknown; allowed: llava", () -> PLAN.ofModel(folder, question));
    refused(Category.DATA, "config.json", () -> PLAN.ofModel(root.resolve("none"), question));
    refused(Category.USER, "--shape is 'gpt'", () -> PLAN.ofShape("gpt", question));
    refused(Category.USER, "divisors", () -> PLAN.ofShape("qwen2-vl-2b", new Question(4, 100, 8)));
    refused(
        Category.USER, "--positions", () -> PLAN.ofShape("qwen2-vl-2b", new Question(4, 128, 0)));
    refused(Category.USER, "allowed", () -> PLAN.ofShape("llava-1.5-7b", new Question(4, 0, 2048)));
  }

  private static void refused(
      Category category, String text, org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(category))
        .hasMessageContaining(text);
  }

  @Test
  void theServiceLoaderFindsIt() {
    assertThat(MemoryPlanner.find()).containsInstanceOf(MemoryPlan.class);
  }
}
