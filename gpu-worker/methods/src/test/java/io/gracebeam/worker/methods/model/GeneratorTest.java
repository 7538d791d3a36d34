package io.gracebeam.worker.methods.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDManager;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.TokenLosses;
import io.gracebeam.worker.methods.testing.Llava;
import io.gracebeam.worker.methods.text.Turn;
import io.gracebeam.worker.methods.training.Prepare;
import io.gracebeam.worker.methods.training.TinyWorld;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Answers from image files: greedy generation and choice scoring. */
class GeneratorTest {
  private static final int NEW = 6;

  @TempDir static Path root;
  private static Path data;
  private static VisionLanguageModel model;
  private static InputMaker inputs;
  private static Generator generator;

  @BeforeAll
  static void prepare() throws IOException {
    data = TinyWorld.dataset(root.resolve("data"), 24);
    Path folder = root.resolve("model");
    Prepare.run(TinyWorld.ENGINE, TinyWorld.prepare(16, 10, 30), data, 3, folder, Progress.NONE);
    folder = Files2.modelFolder(folder);
    model = Llava.load(TinyWorld.ENGINE, folder);
    inputs = Llava.inputs(folder);
    generator = new Generator(model, inputs);
  }

  @AfterAll
  static void close() {
    inputs.close();
    model.close();
  }

  private static Path image(int index) {
    return data.resolve("images/%06d.png".formatted(index));
  }

  private static Prompt prompt(int index, String question) {
    return new Prompt(List.of(image(index)), List.of(new Turn(question, "")));
  }

  /** Log-probability of each answer token after the prompt, by one plain pass of the model. */
  private static double[] forced(Prompt p, long[] answer) {
    ModelInput prefix =
        inputs.encode(p.turns(), p.images().stream().map(inputs::image).toList(), false);
    int[] rows = new int[answer.length];
    Arrays.setAll(rows, i -> prefix.ids().length - 1 + i);
    Batch batch = Batch.of(List.of(prefix.followedBy(answer)), new int[][] {rows}, 0);
    try (NDManager manager = model.manager().newSubManager();
        Forward f = model.forward(manager, batch)) {
      int[] targets = Arrays.stream(answer).mapToInt(Math::toIntExact).toArray();
      float[] logits = f.logits().toFloatArray();
      TokenLosses.Rows of =
          new TokenLosses.Rows(rows.length, model.config().vocab(), targets, 1, null, null, null);
      return Arrays.stream(TokenLosses.apply(new TokenLosses.Batch(logits, of), logits).ce())
          .map(x -> -x)
          .toArray();
    }
  }

  @Test
  void answersImageFilesOneByOneAsInABatch() {
    // Two questions share an image, and the prompts have different lengths.
    List<Prompt> prompts =
        List.of(
            prompt(0, "What is at the top left?"),
            prompt(1, "What is at the bottom right?"),
            prompt(0, "What is at the bottom right?"),
            prompt(5, "What?"));
    List<Generated> batch = generator.generate(prompts, NEW);
    assertThat(batch).hasSize(4);
    for (int i = 0; i < prompts.size(); i++) {
      Generated alone = generator.generate(List.of(prompts.get(i)), NEW).get(0);
      Generated g = batch.get(i);
      assertThat(g.ids()).as("prompt %d", i).isNotEmpty().isEqualTo(alone.ids());
      assertThat(g.text()).isEqualTo(inputs.decode(g.ids())).isEqualTo(alone.text());
      // The cached passes give the log-probabilities of one plain pass over the whole answer.
      double[] plain = forced(prompts.get(i), Arrays.stream(g.ids()).asLongStream().toArray());
      for (int t = 0; t < plain.length; t++) {
        assertThat((double) g.logProbs()[t]).isCloseTo(plain[t], within(1e-4));
      }
    }
    assertThat(generator.generate(List.of(), NEW)).isEmpty();
  }

  @Test
  void theImageDecidesTheNumbers() {
    String question = "What is at the top left?";
    float[] a = generator.generate(List.of(prompt(0, question)), 1).get(0).logProbs();
    float[] b = generator.generate(List.of(prompt(1, question)), 1).get(0).logProbs();
    assertThat(a[0]).isNotEqualTo(b[0]);
  }

  @Test
  void choicesAreScoredByTheLogProbabilityOfAllTheirTokens() {
    Prompt first = prompt(2, "What is at the top left?");
    Prompt second = prompt(3, "What is at the bottom right?");
    List<List<String>> choices =
        List.of(List.of("red", "green", "blue"), List.of("a red square", "green"));
    List<float[]> scores = generator.scoreChoices(List.of(first, second), choices);
    assertThat(scores).hasSize(2);
    for (int p = 0; p < 2; p++) {
      assertThat(scores.get(p)).hasSize(choices.get(p).size());
      for (int c = 0; c < choices.get(p).size(); c++) {
        long[] answer = inputs.ids(choices.get(p).get(c));
        double expected = Arrays.stream(forced(p == 0 ? first : second, answer)).sum();
        assertThat((double) scores.get(p)[c]).isCloseTo(expected, within(1e-4)).isNegative();
      }
    }
    // The greedy answer's own tokens, as a choice, score what generation says of them.
    Generated greedy = generator.generate(List.of(first), NEW).get(0);
    long[] own = inputs.ids(greedy.text());
    double said = 0;
    for (int t = 0; t < own.length; t++) {
      assertThat(own[t]).isEqualTo(greedy.ids()[t]);
      said += greedy.logProbs()[t];
    }
    float[] score = generator.scoreChoices(List.of(first), List.of(List.of(greedy.text()))).get(0);
    assertThat((double) score[0]).isCloseTo(said, within(1e-4));
  }

  @Test
  void imageFilesThatCannotBeReadAreNamed() {
    Prompt missing =
        new Prompt(List.of(data.resolve("images/none.png")), List.of(new Turn("What?", "")));
    assertThatThrownBy(() -> generator.generate(List.of(prompt(0, "What?"), missing), NEW))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContaining("none.png");
    assertThatThrownBy(() -> generator.scoreChoices(List.of(missing), List.of(List.of("red"))))
        .hasMessageContaining("none.png");
  }

  @Test
  void anEmptyChoiceIsRefused() {
    Prompt first = prompt(0, "What?");
    assertThatThrownBy(() -> generator.scoreChoices(List.of(first), List.of(List.of("red", " "))))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContaining("choice 2 is empty");
  }
}
