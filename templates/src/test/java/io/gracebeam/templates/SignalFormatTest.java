package io.gracebeam.templates;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.transforms.stages.GramMatrix;
import io.gracebeam.worker.methods.signals.SignalHeader;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.signals.SignalWriter;
import io.gracebeam.worker.methods.signals.Signals;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The Beam side reads similarity matrices as the worker wrote them. */
class SignalFormatTest {
  private static final int TOKENS = 5;

  @TempDir Path folder;

  private static Signals example(SignalHeader shape, int answer) {
    int width = shape.form() == SignalHeader.Form.TOP_K ? shape.k() : shape.vocab();
    float[] gram = new float[TOKENS * TOKENS];
    for (int i = 0; i < TOKENS; i++) {
      for (int j = 0; j < TOKENS; j++) {
        gram[i * TOKENS + j] = (i + 1) * (j + 1) * 0.1f - answer;
      }
    }
    return new Signals(
        null,
        new int[answer],
        new float[answer],
        new float[answer],
        new float[answer],
        new float[answer],
        shape.form() == SignalHeader.Form.TOP_K ? new int[answer * width] : null,
        new float[answer * width],
        gram);
  }

  @Test
  void matricesSurviveInEveryForm() {
    for (SignalHeader.Form form : SignalHeader.Form.values()) {
      for (SignalHeader.Gram gram : SignalHeader.Gram.values()) {
        for (int vocab : new int[] {11, 70_000}) {
          int k = form == SignalHeader.Form.TOP_K ? 3 : 0;
          SignalHeader shape = new SignalHeader(form, vocab, k, 1, gram, TOKENS, 40, 0, 0);
          check(shape);
        }
      }
    }
  }

  private void check(SignalHeader shape) {
    SignalWriter writer = new SignalWriter(shape);
    writer.add(example(shape, 2));
    writer.add(Signals.bad("broken"));
    writer.add(example(shape, 1));
    Path file = folder.resolve("signals" + SignalWriter.SUFFIX);
    writer.write(file);
    assertThat(GramMatrix.read(folder, 41)).as("%s", shape).isEmpty();
    if (shape.gram() == SignalHeader.Gram.NONE) {
      assertThat(GramMatrix.read(folder, 42)).as("%s", shape).isEmpty();
      return;
    }
    SignalReader worker = SignalReader.open(file);
    for (int example : new int[] {40, 42}) {
      GramMatrix matrix = GramMatrix.read(folder, example).orElseThrow();
      float[] expected = worker.get(example).gram();
      assertThat(matrix.tokens()).isEqualTo(TOKENS);
      for (int i = 0; i < TOKENS * TOKENS; i++) {
        assertThat(matrix.at(i / TOKENS, i % TOKENS))
            .as("%s, example %d, entry %d", shape, example, i)
            .isEqualTo(expected[i]);
      }
    }
  }
}
