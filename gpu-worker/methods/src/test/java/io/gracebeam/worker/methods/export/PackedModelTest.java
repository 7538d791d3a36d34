package io.gracebeam.worker.methods.export;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.Generated;
import io.gracebeam.worker.methods.model.Generator;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.Prompt;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.text.Turn;
import io.gracebeam.worker.methods.training.Prepare;
import io.gracebeam.worker.methods.training.TinyWorld;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Answers on packed weights: the decoder in C against the engine, alone and in batches. */
class PackedModelTest {
  @TempDir Path root;

  @ParameterizedTest
  @CsvSource({"4, 8", "3, 16", "8, -1"})
  void answersAreThoseOfTheEngine(int bits, int group) throws Exception {
    Assumptions.assumeTrue(KernelProvider.best().name().equals("native"), "without native kernels");
    Path data = TinyWorld.dataset(root.resolve("data"), 24);
    Path student = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 10, 30), data, 3, student, Progress.NONE);
    Path out = root.resolve("packed");
    Exporter.run(
        ExportWork.newBuilder()
            .setFormat("pack-quantized")
            .setScales("rtn")
            .setVariant(TinyWorld.variant(bits, group))
            .build(),
        Map.of("trained", student),
        out,
        Progress.NONE);
    Path folder = Files2.modelFolder(out);
    try (VisionLanguageModel model = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder));
        InputMaker inputs = Llava.inputs(folder)) {
      Generator generator = new Generator(model, inputs);
      List<Prompt> prompts = new ArrayList<>();
      for (int i = 0; i < 9; i++) {
        String question = i % 2 == 0 ? "what is there?" : "is there a red thing in it or not?";
        prompts.add(
            new Prompt(
                List.of(data.resolve("images/%06d.png".formatted(i / 2))),
                List.of(new Turn(question, ""))));
      }
      List<Generated> packed = generator.generate(prompts, 6);
      for (int i = 0; i < prompts.size(); i++) {
        Generated alone = generator.generate(List.of(prompts.get(i)), 6).get(0);
        assertThat(alone.ids()).isEqualTo(packed.get(i).ids());
        // The engine's vision tower sums in another order where it sees other images beside.
        assertThat(alone.logProbs())
            .as("prompt %d", i)
            .containsExactly(packed.get(i).logProbs(), within(1e-4f));
      }
      model.setPacked(null, 16);
      List<Generated> engine = generator.generate(prompts, 6);
      for (int i = 0; i < prompts.size(); i++) {
        assertThat(packed.get(i).ids()).as("prompt %d", i).isEqualTo(engine.get(i).ids());
        assertThat(packed.get(i).logProbs())
            .containsExactly(engine.get(i).logProbs(), within(2e-2f));
      }
    }
  }
}
