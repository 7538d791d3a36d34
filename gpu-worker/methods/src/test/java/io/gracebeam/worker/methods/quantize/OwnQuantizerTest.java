package io.gracebeam.worker.methods.quantize;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.export.Exporter;
import io.gracebeam.worker.methods.export.PackedModel;
import io.gracebeam.worker.methods.family.ModelFolder;
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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A quantizer that only a test knows, from the export's work to answers on its packed weights. */
class OwnQuantizerTest {
  @TempDir Path root;

  private Path export(String format, Path from) {
    Path out = root.resolve(format);
    Exporter.run(
        ExportWork.newBuilder()
            .setFormat(format)
            .setScales("toward-zero")
            .setVariant(TinyWorld.variant(4, 8))
            .build(),
        Map.of("model", from),
        out,
        Progress.NONE);
    return out;
  }

  @Test
  void isExportedReadBackAndRun() throws IOException {
    Path data = TinyWorld.dataset(root.resolve("data"), 12);
    Path student = root.resolve("student");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 5, 15), data, 3, student, Progress.NONE);
    Path from = Files2.modelFolder(student);
    Map<String, Tensor> before = Llava.tensors(from);
    Map<String, Tensor> after = Llava.tensors(export("dense", from));
    ModelParameters parameters = Llava.config(from).parameters();
    int smaller = 0;
    for (Map.Entry<String, Tensor> e : before.entrySet()) {
      float[] w = e.getValue().floats();
      float[] cut = after.get(e.getKey()).floats();
      if (parameters.linearPart(e.getKey()).equals(Optional.of(Part.DECODER))) {
        for (int i = 0; i < w.length; i++) {
          assertThat(Math.abs(cut[i])).isLessThanOrEqualTo(Math.abs(w[i]) * 1.000001f);
          smaller += Math.abs(cut[i]) < Math.abs(w[i]) ? 1 : 0;
        }
      } else {
        assertThat(cut).as(e.getKey()).isEqualTo(w);
      }
    }
    assertThat(smaller).isPositive();
    Prompt prompt =
        new Prompt(
            List.of(data.resolve("images/000000.png")), List.of(new Turn("what is there?", "")));
    assertThat(answer(export("pack-quantized", from), prompt))
        .isEqualTo(answer(root.resolve("dense"), prompt));
  }

  private static int[] answer(Path folder, Prompt prompt) throws IOException {
    try (VisionLanguageModel model = PackedModel.load(TinyWorld.ENGINE, ModelFolder.open(folder));
        InputMaker inputs = Llava.inputs(folder)) {
      Generator generator = new Generator(model, inputs);
      return generator.generate(List.of(prompt), 5).getFirst().ids();
    }
  }
}
