package io.gracebeam.worker.methods.family.llava;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.text.Turn;
import io.gracebeam.worker.methods.text.WordTokenizerBuilder;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The conversation template, labels and placeholders. */
class LlavaInputsTest {
  private static final int TOKENS = 4;

  @TempDir Path dir;
  private LlavaConfig config;
  private InputMaker inputs;

  @BeforeEach
  void open() {
    LlavaFamily family = new LlavaFamily();
    ModelShape shape =
        ModelShape.newBuilder()
            .setImageSize(16)
            .setPatchSize(8)
            .setVisionWidth(8)
            .setVisionLayers(2)
            .setVisionHeads(2)
            .setVisionMlp(8)
            .setWidth(8)
            .setLayers(2)
            .setHeads(2)
            .setMlp(8)
            .build();
    config =
        (LlavaConfig)
            family.start(shape, List.of("Is there a cat ?", "yes no, two cats < s > /"), dir);
    inputs = family.inputs(dir, config);
  }

  @AfterEach
  void close() {
    inputs.close();
  }

  private ModelImage image() {
    return config.image(new float[3 * 16 * 16]);
  }

  private String text(ModelInput input) {
    StringBuilder out = new StringBuilder();
    for (int i = 0; i < input.ids().length; i++) {
      long id = input.ids()[i];
      out.append(
          id == config.imageToken()
              ? "#"
              : id == WordTokenizerBuilder.EOS ? "|" : " " + inputs.decode(new int[] {(int) id}));
    }
    return out.toString();
  }

  private static long placeholders(ModelInput input) {
    return Arrays.stream(input.ids()).filter(id -> id == WordTokenizerBuilder.IMAGE_TOKEN).count();
  }

  @Test
  void labelsAnswersAndTheirEnd() {
    List<Turn> turns =
        List.of(
            new Turn("<image>\nIs there a cat?", "yes"), new Turn("there? </s>", "no, two cats"));
    ModelInput encoded = inputs.encode(turns, List.of(image()), true);
    assertThat(encoded.ids()[0]).isEqualTo(WordTokenizerBuilder.BOS);
    assertThat(placeholders(encoded)).isEqualTo(TOKENS);
    assertThat(Arrays.stream(encoded.ids()).max().orElseThrow()).isLessThan(config.vocab());
    // Only the two answers end: the end token in the question was broken up.
    assertThat(Arrays.stream(encoded.ids()).filter(id -> id == 2).count()).isEqualTo(2);
    StringBuilder learned = new StringBuilder();
    for (int i = 0; i < encoded.ids().length; i++) {
      if (encoded.labels()[i]) {
        int id = (int) encoded.ids()[i];
        learned.append(id == 2 ? "|" : " " + inputs.decode(new int[] {id}));
      }
    }
    assertThat(learned.toString()).isEqualTo(" yes| no , two cats|");
    ModelInput open = inputs.encode(turns.subList(0, 1), List.of(image()), false);
    assertThat(open.labels()).doesNotContain(true);
    int[] ids = Arrays.stream(inputs.ids("no, two cats")).mapToInt(i -> (int) i).toArray();
    assertThat(inputs.decode(ids)).isEqualTo("no, two cats");
  }

  @Test
  void imagesStandInFrontOfTheQuestionsThatNameThem() {
    ModelImage first = image();
    ModelImage second = image();
    List<Turn> turns =
        List.of(new Turn("Is <image>\nthere a cat ?", "yes"), new Turn("<image> two cats ?", ""));
    ModelInput input = inputs.encode(turns, List.of(first, second), false);
    assertThat(text(input))
        .contains("####")
        .matches(".*USER :#### Is there a cat \\? ASSISTANT : yes\\| USER :#### two cats \\? .*");
    assertThat(input.images()).extracting(ModelInput.Placed::image).containsExactly(first, second);
    for (ModelInput.Placed p : input.images()) {
      assertThat(Arrays.copyOfRange(input.ids(), p.start(), p.start() + TOKENS))
          .containsOnly(WordTokenizerBuilder.IMAGE_TOKEN);
    }
    // Where no question names an image, all stand in front of the first question.
    ModelInput front =
        inputs.encode(List.of(new Turn("two cats ?", "")), List.of(first, second), false);
    assertThat(text(front)).contains("USER :######## two cats ?");
    ModelInput none = inputs.encode(List.of(new Turn("two cats ?", "")), List.of(), false);
    assertThat(none.images()).isEmpty();
    assertThat(placeholders(none)).isZero();
  }

  @Test
  void otherNumbersOfPlaceholdersAreRefused() {
    List<Turn> turns = List.of(new Turn("<image> <image> Is there a cat ?", "yes"));
    for (List<ModelImage> images : List.of(List.of(image()), List.<ModelImage>of())) {
      assertThatThrownBy(() -> inputs.encode(turns, images, true))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
          .hasMessageContaining("2 <image> placeholders for " + images.size() + " images");
    }
  }
}
