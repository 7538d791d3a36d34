package io.gracebeam.pipelines.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.v1.Data;
import io.gracebeam.proto.v1.Models;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.Recipe;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class RunPlanTest {
  private static final RunPlan.Sizes SIZES =
      new RunPlan.Sizes(3, Map.of("pope", List.of(Question.newBuilder().setId("1").build())));

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
      recipe.addVariants(Variants.get(variant));
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
            1 answer/rtn-int4/s7/pope/u000 images=@benchmark/pope model=export/rtn-int4/s7
            7 answer/grace-int4/s7/pope/u000 images=@benchmark/pope model=export/grace-int4/s7
            """);
  }

  @Test
  void distillingWithoutTeacherIsRefused() {
    assertThatThrownBy(() -> RunPlan.of(recipe("", "grace-int4"), SIZES, Optional.empty()))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("models.teacher");
  }
}
