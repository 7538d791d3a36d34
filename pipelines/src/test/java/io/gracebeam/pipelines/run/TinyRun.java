package io.gracebeam.pipelines.run;

import io.gracebeam.pipelines.plan.StartSettings;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;

/** The quick demonstration, shrunk to seconds: 2 logical shards in 2 rounds, few steps. */
final class TinyRun {
  private static final int TRAIN_GRIDS = 8;
  private static final int TEST_GRIDS = 4;
  private static final int QUESTIONS = 8;

  private TinyRun() {}

  /** The run in a folder; data is made in its store. */
  static Run in(RunFolder folder) {
    StartSettings start = start();
    return new Run(
        folder,
        recipe(),
        Optional.of(start),
        Optional.of(
            new DemoData(
                ArtifactStore.open(folder.store()), start, Optional.empty(), Optional.empty())));
  }

  static Recipe recipe() {
    Recipe.Builder recipe = RecipeReader.parse(resource("quick.yaml"), "quick.yaml").toBuilder();
    recipe.setName("tiny").setShards(2).setRounds(2).clearSeeds().addSeeds(0).clearVariants();
    for (String variant : List.of("teacher", "bf16", "rtn-int4", "grace-int4")) {
      recipe.addVariants(Variant.newBuilder().setName(variant));
    }
    recipe.getDataBuilder().setMaxExamples(16).setShardExamples(8);
    recipe.getEvaluationBuilder().setMaxQuestions(QUESTIONS).setMaxNewTokens(2).setBootstrap(100);
    recipe.setDistillation(shrunk(recipe.getDistillation(), 16, 4, 2));
    recipe.setBaseline(shrunk(recipe.getBaseline(), 16, 4, 2));
    return RecipeReader.resolve(recipe.build());
  }

  static StartSettings start() {
    StartSettings quick = StartSettings.parse(resource("quick.start.yaml"), "quick.start.yaml");
    return new StartSettings(
        TRAIN_GRIDS,
        TRAIN_GRIDS,
        quick.studentPhotosPerClass(),
        TEST_GRIDS,
        quick.side(),
        quick.photo(),
        quick.seed(),
        quick.teacherPerSeed(),
        quick.studentPerSeed(),
        prepare(quick.teacher()),
        prepare(quick.student()));
  }

  private static PrepareWork prepare(PrepareWork work) {
    return work.toBuilder()
        .setTower(shrunk(work.getTower(), 2, 4, 4))
        .setInstruction(shrunk(work.getInstruction(), 2, 4, 4))
        .build();
  }

  private static Training shrunk(Training training, int steps, int batch, int micro) {
    return training.toBuilder()
        .setSteps(steps)
        .setBatchExamples(batch)
        .setMicroBatchExamples(micro)
        .build();
  }

  private static String resource(String name) {
    try (InputStream in = Run.class.getResourceAsStream("/recipes/" + name)) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
