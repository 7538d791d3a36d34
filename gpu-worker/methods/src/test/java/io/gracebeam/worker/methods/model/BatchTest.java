package io.gracebeam.worker.methods.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.GraceException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;

/** Where images stand in sequences and batches, for any number of images of any size. */
class BatchTest {
  private static final int PLACEHOLDER = 3;
  private static final int PADDING = 4;

  private static ModelImage image(int tokens) {
    return new ModelImage(
        PixelCache.of(new float[3]),
        new long[] {3, 1, 1},
        new ModelImage.Grid(1, 1, tokens),
        tokens);
  }

  /** A word, then for each image its placeholder and a word. */
  private static ModelInput input(List<ModelImage> images) {
    long[] ids = new long[1 + 2 * images.size()];
    Arrays.setAll(ids, i -> i % 2 == 0 ? 10 + i : PLACEHOLDER);
    return ModelInput.expanded(ids, new boolean[ids.length], PLACEHOLDER, images);
  }

  @Property(tries = 200)
  void placesHoldTheImagesOfEachExample(
      @ForAll @Size(min = 1, max = 4) List<@Size(max = 3) List<@IntRange(max = 5) Integer>> sizes) {
    ModelImage shared = image(2);
    List<ModelInput> inputs = new ArrayList<>();
    for (List<Integer> own : sizes) {
      List<ModelImage> images = new ArrayList<>(own.stream().map(BatchTest::image).toList());
      images.add(shared);
      inputs.add(input(images));
    }
    Batch batch = Batch.prompts(inputs, PADDING);
    int distinct = 1 + sizes.stream().mapToInt(List::size).sum();
    assertThat(batch.images()).hasSize(distinct).doesNotHaveDuplicates().contains(shared);
    assertThat(batch.places()).hasSize(distinct - 1 + sizes.size());
    long[] placeholders = new long[sizes.size()];
    for (Batch.Place p : batch.places()) {
      assertThat(p.tokens()).isEqualTo(batch.images().get(p.image()).tokens());
      int before = 0;
      for (ModelImage image : batch.images().subList(0, p.image())) {
        before += image.tokens();
      }
      assertThat(p.row()).isEqualTo(before);
      long[] ids = Arrays.copyOfRange(batch.ids()[p.example()], p.start(), p.start() + p.tokens());
      assertThat(Arrays.stream(ids).allMatch(id -> id == PLACEHOLDER)).isTrue();
      placeholders[p.example()] += p.tokens();
    }
    for (int b = 0; b < batch.size(); b++) {
      long[] ids = batch.ids()[b];
      assertThat(Arrays.stream(ids).filter(id -> id == PLACEHOLDER).count())
          .isEqualTo(placeholders[b]);
      assertThat(Arrays.copyOfRange(ids, batch.lengths()[b], batch.length()))
          .doesNotContain(PLACEHOLDER)
          .matches(rest -> Arrays.stream(rest).allMatch(id -> id == PADDING));
      assertThat(batch.next()[b]).isEqualTo(batch.lengths()[b]);
    }
    assertThat(batch.positions().counting()).isTrue();
    assertThat(batch.visualPositions()).hasSize((int) Arrays.stream(placeholders).sum());
  }

  @Property(tries = 50)
  void placeholdersAndImagesMustBeAsMany(
      @ForAll @IntRange(max = 4) int placeholders, @ForAll @IntRange(max = 4) int images) {
    long[] ids = new long[placeholders + 1];
    Arrays.fill(ids, 0, placeholders, PLACEHOLDER);
    List<ModelImage> given = new ArrayList<>();
    for (int i = 0; i < images; i++) {
      given.add(image(i + 1));
    }
    boolean[] labels = new boolean[ids.length];
    if (placeholders == images) {
      ModelInput made = ModelInput.expanded(ids, labels, PLACEHOLDER, given);
      assertThat(made.ids()).hasSize(1 + images * (images + 1) / 2);
      return;
    }
    assertThatThrownBy(() -> ModelInput.expanded(ids, labels, PLACEHOLDER, given))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("%d image placeholders for %d images", placeholders, images);
  }
}
