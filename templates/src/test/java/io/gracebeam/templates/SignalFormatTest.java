package io.gracebeam.templates;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.transforms.stages.GramMatrix;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.signals.SignalWriter;
import io.gracebeam.worker.methods.signals.Signals;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The Beam side reads similarity matrices as the worker wrote them. */
class SignalFormatTest {
  private static final int TOKENS = 5;

  @TempDir Path folder;

  /** An example whose images have these numbers of visual tokens. */
  private static Signals example(SignalForm form, int answer, int... tokens) {
    int width = form.rows() == SignalForm.Rows.TOP_K ? form.k() : form.vocab();
    List<float[]> grams = new ArrayList<>();
    for (int n : tokens) {
      float[] gram = new float[n * n];
      for (int i = 0; i < n * n; i++) {
        gram[i] = (i / n + 1) * (i % n + 1) * 0.1f - answer;
      }
      grams.add(gram);
    }
    return new Signals(
        null,
        new int[answer],
        new Signals.Statistics(
            new float[answer], new float[answer], new float[answer], new float[answer]),
        form.rows() == SignalForm.Rows.TOP_K ? new int[answer * width] : null,
        new float[answer * width],
        tokens,
        form.gram() == SignalForm.Gram.NONE ? List.of() : grams);
  }

  @Test
  void matricesSurviveInEveryForm() throws IOException {
    for (SignalForm form : forms()) {
      SignalWriter writer = new SignalWriter(form, TOKENS, 40);
      writer.add(example(form, 2, TOKENS));
      writer.add(Signals.bad("broken"));
      writer.add(example(form, 1, TOKENS));
      assertThat(write(writer)).as("version of %s", form).isEqualTo(1);
      check(form, new int[] {TOKENS}, new int[0], new int[] {TOKENS});
    }
  }

  @Test
  void imagesOfOtherSizesAndNumbersTellTheirOwn() throws IOException {
    int[][][] cases = {
      {{TOKENS}, {TOKENS + 1}, {TOKENS}},
      {{TOKENS}, {}, {TOKENS}},
      {{}, {}, {}},
      {{3, TOKENS}, {1}, {2, 2, 7}}
    };
    for (SignalForm form : forms()) {
      for (int[][] tokens : cases) {
        SignalWriter writer = new SignalWriter(form, 0, 40);
        for (int i = 0; i < tokens.length; i++) {
          writer.add(example(form, 1 + i, tokens[i]));
        }
        assertThat(write(writer)).as("version of %s", form).isEqualTo(2);
        check(form, tokens);
      }
    }
  }

  private static List<SignalForm> forms() {
    List<SignalForm> out = new ArrayList<>();
    for (SignalForm.Rows rows : SignalForm.Rows.values()) {
      for (SignalForm.Gram gram : SignalForm.Gram.values()) {
        for (int vocab : new int[] {11, 70_000}) {
          int k = rows == SignalForm.Rows.TOP_K ? 3 : 0;
          out.add(new SignalForm(rows, vocab, k, 1, gram));
        }
      }
    }
    return out;
  }

  /** Writes the unit; its version. */
  private int write(SignalWriter writer) throws IOException {
    Path file = folder.resolve("signals" + SignalWriter.SUFFIX);
    writer.write(file);
    return ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN).getInt(4);
  }

  /** Both readers against each other, for examples with images of these sizes. */
  private void check(SignalForm form, int[]... tokens) {
    SignalReader worker = SignalReader.open(folder);
    for (int e = 0; e < tokens.length; e++) {
      List<GramMatrix> found = GramMatrix.read(folder, 40 + e);
      List<float[]> expected = worker.get(40 + e).grams();
      assertThat(found).as("%s, example %d", form, e).hasSameSizeAs(expected);
      assertThat(expected).hasSize(form.gram() == SignalForm.Gram.NONE ? 0 : tokens[e].length);
      if (worker.get(40 + e).error() == null) {
        assertThat(worker.get(40 + e).visualTokens()).isEqualTo(tokens[e]);
      }
      for (int m = 0; m < found.size(); m++) {
        int n = tokens[e][m];
        assertThat(found.get(m).tokens()).isEqualTo(n);
        for (int i = 0; i < n * n; i++) {
          assertThat(found.get(m).at(i / n, i % n))
              .as("%s, example %d, matrix %d, entry %d", form, e, m, i)
              .isEqualTo(expected.get(m)[i]);
        }
      }
    }
  }
}
