package io.gracebeam.pipelines.run;

import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.gracebeam.pipelines.photogrid.ClassPhotos;
import io.gracebeam.pipelines.photogrid.GridBuilder;
import io.gracebeam.pipelines.photogrid.PhotoSet;
import io.gracebeam.pipelines.photogrid.ShapePhotos;
import io.gracebeam.pipelines.plan.StartSettings;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.artifact.StageKeys;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.worker.Builds;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * Makes the datasets of a demonstration from class-labeled photos, or from drawn shapes; a hit if
 * the store has them.
 */
public final class DemoData {
  private static final int SHAPES_PER_CLASS = 200;
  private static final int ALL_PHOTOS = Integer.MAX_VALUE;

  /**
   * A dataset and what it cost.
   *
   * @param manifest of the dataset
   * @param cached whether the store had it
   * @param seconds wall time
   */
  public record Made(Manifest manifest, boolean cached, double seconds) {}

  private final ArtifactStore store;
  private final StartSettings settings;
  private final Optional<Path> images;
  private final Optional<Path> testImages;

  /**
   * Data of a demonstration.
   *
   * @param images folder or zip with a folder per class; empty: shapes are drawn
   * @param testImages the same, with photos that training never shows
   * @throws GraceException (user) if only one of the two is given, or one is missing
   */
  public DemoData(
      ArtifactStore store,
      StartSettings settings,
      Optional<Path> images,
      Optional<Path> testImages) {
    if (images.isPresent() != testImages.isPresent()) {
      throw GraceException.user(
          "--images and --test-images go together: questions must be about photos that training"
              + " never showed");
    }
    for (Path path :
        images.isPresent() ? new Path[] {images.get(), testImages.get()} : new Path[0]) {
      if (!Files.exists(path)) {
        throw GraceException.user(
            "%s: no such file; name a folder or zip with a folder per class", path);
      }
    }
    this.store = store;
    this.settings = settings;
    this.images = images;
    this.testImages = testImages;
  }

  /** The student's training set, with the benchmarks. */
  public Made student() {
    return make(
        "student", settings.studentGrids(), settings.testGrids(), settings.studentPhotosPerClass());
  }

  /** The teacher's training set. */
  public Made teacher() {
    return settings.oneDataset() ? student() : make("teacher", settings.trainGrids(), 0, 0);
  }

  private Made make(String whose, int train, int test, int perClass) {
    long start = System.nanoTime();
    Map<String, ArtifactRef> inputs = new TreeMap<>();
    images.ifPresent(path -> inputs.put("images", Artifacts.given("photos", path)));
    testImages.ifPresent(path -> inputs.put("test-images", Artifacts.given("photos", path)));
    String key =
        StageKeys.key("grids", 1, options(train, test, perClass), inputs, "", settings.seed());
    Optional<Manifest> published = store.find(key);
    if (published.isPresent()) {
      return new Made(published.get(), true, (System.nanoTime() - start) / 1e9);
    }
    Path folder = store.begin(key);
    GridBuilder.Options base = GridBuilder.Options.of(train, test, settings.seed());
    GridBuilder.Options options =
        new GridBuilder.Options(
            settings.side(),
            train,
            test,
            base.multipleChoiceGrids(),
            base.blur(),
            base.choiceShare(),
            base.relationShare(),
            base.rationaleShare(),
            settings.seed());
    new GridBuilder(photos(images, 0, perClass), photos(testImages, 1, 0), options).write(folder);
    Manifest.Builder partial =
        Manifest.newBuilder()
            .setStage("grids")
            .setStageKey(key)
            .putAllInputs(inputs)
            .putTools("grace-beam", Builds.current())
            .setSeed(settings.seed());
    partial.getArtifactBuilder().setKind("dataset");
    Manifest manifest = store.publish(folder, partial);
    return new Made(manifest, false, (System.nanoTime() - start) / 1e9);
  }

  private PhotoSet photos(Optional<Path> place, long set, int perClass) {
    return place.isPresent()
        ? ClassPhotos.read(
            place.get(),
            ClassPhotos.Limits.of(settings.photo(), perClass > 0 ? perClass : ALL_PHOTOS))
        : ShapePhotos.draw(
            settings.seed(), set, perClass > 0 ? perClass : SHAPES_PER_CLASS, settings.photo());
  }

  private Struct options(int train, int test, int perClass) {
    Struct.Builder options = Struct.newBuilder();
    Map<String, Integer> values =
        Map.of(
            "train",
            train,
            "test",
            test,
            "perClass",
            perClass,
            "side",
            settings.side(),
            "photo",
            settings.photo(),
            "shapes",
            images.isPresent() ? 0 : SHAPES_PER_CLASS);
    values.forEach(
        (name, value) -> options.putFields(name, Value.newBuilder().setNumberValue(value).build()));
    return options.build();
  }
}
