package io.gracebeam.pipelines.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.v1.Data;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.Models;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.Recipe;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;

class RunPlanTest {
  private static final RunPlan.Sizes SIZES =
      new RunPlan.Sizes(
          3,
          Map.of(
              "pope",
              new RunPlan.Asked(
                  List.of(Question.newBuilder().setId("1").addImages("1.png").build()), 8, "pope")),
          OptionalInt.empty());

  private static Recipe recipe(String teacher, String... variants) {
    Recipe.Builder recipe =
        Recipe.newBuilder()
            .setName("t")
            .setData(Data.newBuilder().setShardExamples(2))
            .setModels(Models.newBuilder().setTeacher(teacher).setStudent("s"))
            .setShards(2)
            .setRounds(2)
            .addSeeds(7);
    for (String variant : variants) {
      recipe.addVariants(Variants.preset(variant));
    }
    return recipe.build();
  }

  @Test
  void unrollsRoundsAndShards() {
    RunPlan plan =
        RunPlan.of(recipe("t", "bf16", "rtn-int4", "grace-int4"), SIZES, Optional.empty());
    assertThat(plan.describe())
        .isEqualTo(
            """
            0 extract/u0000 dataset=@dataset teacher=@teacher
            0 extract/u0001 dataset=@dataset teacher=@teacher
            1 signals teacher=@teacher unit-0000=extract/u0000 unit-0001=extract/u0001
            0 export/rtn-int4/s7 model=@student
            2 train/grace-int4/s7/r0/k0 dataset=@dataset signals=signals student=@student
            2 train/grace-int4/s7/r0/k1 dataset=@dataset signals=signals student=@student
            3 average/grace-int4/s7/r0 previous=@student shard-0=train/grace-int4/s7/r0/k0 shard-1=train/grace-int4/s7/r0/k1
            4 train/grace-int4/s7/r1/k0 dataset=@dataset signals=signals state=average/grace-int4/s7/r0 student=average/grace-int4/s7/r0
            4 train/grace-int4/s7/r1/k1 dataset=@dataset signals=signals state=average/grace-int4/s7/r0 student=average/grace-int4/s7/r0
            5 average/grace-int4/s7/r1 previous=average/grace-int4/s7/r0 shard-0=train/grace-int4/s7/r1/k0 shard-1=train/grace-int4/s7/r1/k1
            6 export/grace-int4/s7 trained=average/grace-int4/s7/r1
            0 answer/bf16/s7/pope/u000 images=@benchmark/pope model=@student
            1 score/bf16/s7/pope answers-0=answer/bf16/s7/pope/u000 questions=@questions/pope
            1 answer/rtn-int4/s7/pope/u000 images=@benchmark/pope model=export/rtn-int4/s7
            2 score/rtn-int4/s7/pope answers-0=answer/rtn-int4/s7/pope/u000 questions=@questions/pope
            7 answer/grace-int4/s7/pope/u000 images=@benchmark/pope model=export/grace-int4/s7
            8 score/grace-int4/s7/pope answers-0=answer/grace-int4/s7/pope/u000 questions=@questions/pope
            """);
  }

  @Test
  void layoutsShareTheTrainedModel() {
    Recipe recipe =
        RecipeReader.resolve(
            RecipeReader.parse(
                "name: t\n"
                    + "data: {train: d, shard_examples: 2}\n"
                    + "models: {teacher: t, student: s}\n"
                    + "seeds: [7]\n"
                    + "variants: [grace-int4-kv8, grace-int4, grace-int4-all8, {name:"
                    + " grace-int4-head8, gate: false}, rtn-int4-all8]\n",
                "r"));
    RunPlan plan = RunPlan.of(recipe, SIZES, Optional.empty());
    assertThat(plan.describe())
        .contains(
            """
            2 train/grace-int4-kv8/s7/r0/k0 dataset=@dataset signals=signals student=@student
            3 export/grace-int4-kv8/s7 trained=train/grace-int4-kv8/s7/r0/k0
            3 export/grace-int4/s7 trained=train/grace-int4-kv8/s7/r0/k0
            3 export/grace-int4-all8/s7 trained=train/grace-int4-kv8/s7/r0/k0
            2 train/grace-int4-head8/s7/r0/k0 dataset=@dataset signals=signals student=@student
            3 export/grace-int4-head8/s7 trained=train/grace-int4-head8/s7/r0/k0
            0 export/rtn-int4-all8/s7 model=@student
            """);
    // The key of the shared training is that of a recipe with grace-int4 alone.
    assertThat(work(plan, "train/grace-int4-kv8/s7/r0/k0"))
        .isEqualTo(
            work(
                RunPlan.of(
                    recipe.toBuilder().clearVariants().addVariants(recipe.getVariants(1)).build(),
                    SIZES,
                    Optional.empty()),
                "train/grace-int4/s7/r0/k0"));
    ExportWork full = (ExportWork) work(plan, "export/grace-int4/s7");
    assertThat(full.getVariant().hasHeadBits() || full.getVariant().hasKvBits()).isFalse();
    ExportWork all8 = (ExportWork) work(plan, "export/grace-int4-all8/s7");
    assertThat(all8.getVariant().getHeadBits()).isEqualTo(8);
    assertThat(all8.getVariant().getKvBits()).isEqualTo(8);
  }

  private static Message work(RunPlan plan, String id) {
    return plan.stages().stream().filter(s -> s.id().equals(id)).findFirst().orElseThrow().work();
  }

  @Test
  void mapsAreExtractedApartFromTheSignals() {
    Recipe recipe = recipe("t", "bf16", "grace-int8", "grace-int4").toBuilder().addSeeds(8).build();
    List<PlannedStage> without = RunPlan.of(recipe, SIZES, Optional.empty()).stages();
    RunPlan plan =
        RunPlan.of(
            recipe, new RunPlan.Sizes(3, SIZES.questions(), OptionalInt.of(2)), Optional.empty());

    assertThat(plan.stages()).startsWith(without.toArray(PlannedStage[]::new));
    List<PlannedStage> maps = plan.stages().subList(without.size(), plan.stages().size());
    assertThat(maps)
        .extracting(PlannedStage::id)
        .containsExactly("gram/teacher", "gram/bf16", "gram/grace-int4");
    assertThat(maps)
        .extracting(stage -> stage.inputs().get("teacher"))
        .containsExactly("@teacher", "@student", "export/grace-int4/s7");
    assertThat(maps)
        .allSatisfy(
            stage -> {
              assertThat(stage.kind().name()).isEqualTo("gram");
              ExtractRequest work = (ExtractRequest) stage.work();
              assertThat(work.getFirst()).isEqualTo(2);
              assertThat(work.getCount()).isEqualTo(1);
              assertThat(work.getCache().getGram()).isEqualTo("f32");
            });
    assertThat(maps.get(2).wave()).isEqualTo(7);
    assertThat(plan.shown())
        .containsExactly(
            new RunPlan.Shown("teacher", 16, true, "gram/teacher"),
            new RunPlan.Shown("bf16", 16, false, "gram/bf16"),
            new RunPlan.Shown("grace-int4", 4, false, "gram/grace-int4"));
  }

  @Test
  void mapsOfARunWithoutTeacherAndGrace() {
    RunPlan.Sizes sizes = new RunPlan.Sizes(3, SIZES.questions(), OptionalInt.of(0));
    assertThat(RunPlan.of(recipe("", "bf16", "rtn-int4"), sizes, Optional.empty()).shown())
        .extracting(RunPlan.Shown::name)
        .containsExactly("bf16");
    assertThat(RunPlan.of(recipe("t", "rtn-int4"), sizes, Optional.empty()).shown()).isEmpty();
    assertThat(RunPlan.of(recipe("t", "grace-int2"), sizes, Optional.empty()).shown())
        .extracting(RunPlan.Shown::stage)
        .containsExactly("gram/teacher", "gram/grace-int2");
  }

  private static Optional<StartSettings> start(String flags) {
    String made = ": {shape: {}, tower: {}, instruction: {}}\n";
    return Optional.of(
        StartSettings.parse(
            "grids: {train: 3, test: 1, side: 2, photo: 8, seed: 1}\n"
                + flags
                + "teacher"
                + made
                + "student"
                + made,
            "s"));
  }

  @Test
  void seedsShareWhatIsNotTheirOwn() {
    Recipe recipe =
        recipe("", "teacher", "bf16", "grace-int4").toBuilder()
            .addSeeds(8)
            .setShards(1)
            .setRounds(1)
            .build();
    assertThat(RunPlan.of(recipe, SIZES, start("")).describe())
        .isEqualTo(
            """
            0 prepare/teacher dataset=@teacher-dataset
            0 prepare/student/s7 dataset=@dataset
            1 extract/u0000 dataset=@dataset teacher=prepare/teacher
            1 extract/u0001 dataset=@dataset teacher=prepare/teacher
            2 signals teacher=prepare/teacher unit-0000=extract/u0000 unit-0001=extract/u0001
            3 train/grace-int4/s7/r0/k0 dataset=@dataset signals=signals student=prepare/student/s7
            4 export/grace-int4/s7 trained=train/grace-int4/s7/r0/k0
            3 train/grace-int4/s8/r0/k0 dataset=@dataset signals=signals student=prepare/student/s7
            4 export/grace-int4/s8 trained=train/grace-int4/s8/r0/k0
            1 answer/teacher/s7/pope/u000 images=@benchmark/pope model=prepare/teacher
            2 score/teacher/s7/pope answers-0=answer/teacher/s7/pope/u000 questions=@questions/pope
            1 answer/bf16/s7/pope/u000 images=@benchmark/pope model=prepare/student/s7
            2 score/bf16/s7/pope answers-0=answer/bf16/s7/pope/u000 questions=@questions/pope
            1 answer/bf16/s8/pope/u000 images=@benchmark/pope model=prepare/student/s7
            2 score/bf16/s8/pope answers-0=answer/bf16/s8/pope/u000 questions=@questions/pope
            5 answer/grace-int4/s7/pope/u000 images=@benchmark/pope model=export/grace-int4/s7
            6 score/grace-int4/s7/pope answers-0=answer/grace-int4/s7/pope/u000 questions=@questions/pope
            5 answer/grace-int4/s8/pope/u000 images=@benchmark/pope model=export/grace-int4/s8
            6 score/grace-int4/s8/pope answers-0=answer/grace-int4/s8/pope/u000 questions=@questions/pope
            """);
    assertThat(
            RunPlan.of(recipe, SIZES, start("teacher_per_seed: true\nstudent_per_seed: true\n"))
                .describe())
        .isEqualTo(
            """
            0 prepare/teacher/s7 dataset=@teacher-dataset
            0 prepare/teacher/s8 dataset=@teacher-dataset
            0 prepare/student/s7 dataset=@dataset
            0 prepare/student/s8 dataset=@dataset
            1 extract/s7/u0000 dataset=@dataset teacher=prepare/teacher/s7
            1 extract/s7/u0001 dataset=@dataset teacher=prepare/teacher/s7
            2 signals/s7 teacher=prepare/teacher/s7 unit-0000=extract/s7/u0000 unit-0001=extract/s7/u0001
            1 extract/s8/u0000 dataset=@dataset teacher=prepare/teacher/s8
            1 extract/s8/u0001 dataset=@dataset teacher=prepare/teacher/s8
            2 signals/s8 teacher=prepare/teacher/s8 unit-0000=extract/s8/u0000 unit-0001=extract/s8/u0001
            3 train/grace-int4/s7/r0/k0 dataset=@dataset signals=signals/s7 student=prepare/student/s7
            4 export/grace-int4/s7 trained=train/grace-int4/s7/r0/k0
            3 train/grace-int4/s8/r0/k0 dataset=@dataset signals=signals/s8 student=prepare/student/s8
            4 export/grace-int4/s8 trained=train/grace-int4/s8/r0/k0
            1 answer/teacher/s7/pope/u000 images=@benchmark/pope model=prepare/teacher/s7
            2 score/teacher/s7/pope answers-0=answer/teacher/s7/pope/u000 questions=@questions/pope
            1 answer/teacher/s8/pope/u000 images=@benchmark/pope model=prepare/teacher/s8
            2 score/teacher/s8/pope answers-0=answer/teacher/s8/pope/u000 questions=@questions/pope
            1 answer/bf16/s7/pope/u000 images=@benchmark/pope model=prepare/student/s7
            2 score/bf16/s7/pope answers-0=answer/bf16/s7/pope/u000 questions=@questions/pope
            1 answer/bf16/s8/pope/u000 images=@benchmark/pope model=prepare/student/s8
            2 score/bf16/s8/pope answers-0=answer/bf16/s8/pope/u000 questions=@questions/pope
            5 answer/grace-int4/s7/pope/u000 images=@benchmark/pope model=export/grace-int4/s7
            6 score/grace-int4/s7/pope answers-0=answer/grace-int4/s7/pope/u000 questions=@questions/pope
            5 answer/grace-int4/s8/pope/u000 images=@benchmark/pope model=export/grace-int4/s8
            6 score/grace-int4/s8/pope answers-0=answer/grace-int4/s8/pope/u000 questions=@questions/pope
            """);
  }

  @Test
  void flagsAreTrueOrFalse() {
    assertThat(start("teacher_per_seed: false\n").orElseThrow().teacherPerSeed()).isFalse();
    assertThatThrownBy(() -> start("student_per_seed: 1\n"))
        .hasMessage("s: student_per_seed is '1'; allowed: true, false");
    assertThatThrownBy(() -> start("teacher_per_seed: 'yes'\n"))
        .hasMessage("s: teacher_per_seed is 'yes'; allowed: true, false");
  }

  @Test
  void distillingWithoutTeacherIsRefused() {
    assertThatThrownBy(() -> RunPlan.of(recipe("", "grace-int4"), SIZES, Optional.empty()))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("models.teacher");
  }
}
