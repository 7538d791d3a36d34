package io.gracebeam.proto.recipe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assertions.tuple;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Variant;
import java.nio.file.Path;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.Scale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RecipeReaderTest {
  private static final String MINIMAL =
      "name: demo\ndata: {train: d}\nmodels: {teacher: t, student: s}\n";

  @Test
  void defaultsAreFilledIn() {
    Recipe recipe = resolve("");
    assertThat(recipe.getGrace().getTemperature()).isEqualTo(2);
    assertThat(recipe.getGrace().getBetaDkd()).isEqualTo(4);
    assertThat(recipe.getGrace().getController().getTau()).isEqualTo(3);
    assertThat(recipe.getDistillation().getScaleRateFactor()).isEqualTo(10);
    assertThat(recipe.getOuter().getLearningRate()).isEqualTo(0.7);
    assertThat(recipe.getSeedsList()).containsExactly(1L);
    assertThat(recipe.getVariantsList())
        .extracting(Variant::getName)
        .containsExactlyElementsOf(Defaults.VARIANTS);
    assertThat(RecipeReader.resolve(recipe)).isEqualTo(recipe);
  }

  @Test
  void writtenZerosAndFalsesSurvive() {
    Recipe recipe =
        resolve(
            "grace: {omega: 0}\nbaseline: {weight_decay: 0}\n"
                + "variants: [{name: grace-int4, gate: false}]\n");
    assertThat(recipe.getGrace().getOmega()).isZero();
    assertThat(recipe.getBaseline().getWeightDecay()).isZero();
    assertThat(recipe.getVariants(0).getGate()).isFalse();
    assertThat(recipe.getVariants(0).getRcka()).isTrue();
  }

  @Test
  void variantsAreNamesOrMaps() {
    Recipe recipe =
        resolve(
            "quantization: {group_size: 64}\n"
                + "variants: [bf16, rtn-int3, {name: qat-int4, group_size: -1}]\n");
    assertThat(recipe.getVariantsList()).extracting(Variant::getBits).containsExactly(16, 3, 4);
    assertThat(recipe.getVariantsList())
        .extracting(Variant::getGroupSize)
        .containsExactly(0, 64, -1);
  }

  @Test
  void withoutTeacherDefaultVariantsNeedNone() {
    Recipe recipe =
        RecipeReader.resolve(
            RecipeReader.parse("name: x\ndata: {train: d}\nmodels: {student: s}\n", "r"));
    assertThat(recipe.getVariantsList()).isNotEmpty().noneMatch(Variants::needsTeacher);
  }

  @Test
  void layoutsAreTheRecipesUnlessAVariantSaysOtherwise() {
    Recipe recipe =
        resolve(
            "quantization: {head_bits: 8, kv_bits: 8}\n"
                + "variants: [bf16, {name: grace-int4, head_bits: 16}, grace-int4-head4,"
                + " grace-int4-all8]\n");
    assertThat(recipe.getVariantsList())
        .extracting(Variant::getHeadBits, Variant::getVisionBits, Variant::getKvBits)
        .containsExactly(tuple(16, 16, 16), tuple(16, 16, 8), tuple(4, 16, 8), tuple(8, 8, 8));
    assertThat(recipe.getVariantsList())
        .extracting(Variant::getProjectorBits)
        .containsExactly(16, 16, 16, 8);
    assertThat(RecipeReader.resolve(recipe)).isEqualTo(recipe);
    assertThat(RecipeReader.parse(RecipeReader.toYaml(recipe), "r")).isEqualTo(recipe);
  }

  @Test
  void trainingAndExportReadSwitchesAndNoNames() {
    Recipe recipe =
        resolve(
            "variants: [grace-int4-all8, grace-int4, per-tensor-int4, rtn-int4,"
                + " {name: mine, preset: grace-int4, kv_bits: 8}]\n");
    List<Variant> all = recipe.getVariantsList();
    Variant all8 = all.get(0);
    Variant grace = all.get(1);
    Variant mine = all.get(4);
    assertThat(Variants.trained(grace))
        .isEqualTo(Variants.trained(all8))
        .isEqualTo(Variants.trained(mine))
        .isNotEqualTo(Variants.trained(all.get(2)));
    assertThat(Variants.trained(grace).getName()).isEmpty();
    assertThat(Variants.exported(grace))
        .isEqualTo(
            Variant.newBuilder()
                .setQuantized(true)
                .setBits(4)
                .setGroupSize(32)
                .setPerTensor(false)
                .build());
    assertThat(Variants.exported(mine))
        .isEqualTo(Variants.exported(grace).toBuilder().setKvBits(8).build());
    assertThat(Variants.exported(all8).getHeadBits()).isEqualTo(8);
    assertThat(Variants.sibling(all8, all)).contains(grace);
    assertThat(Variants.sibling(mine, all)).contains(grace);
    for (Variant without : List.of(grace, all.get(2), all.get(3))) {
      assertThat(Variants.sibling(without, all)).isEmpty();
    }
    assertThat(all).filteredOn(Variants::grace).containsExactly(all8, grace, mine);
  }

  @Test
  void zeroPointsAndQuantizersAreSwitchesOfWhatIsRounded() {
    List<Variant> all =
        resolve(
                "quantization: {symmetric: false}\n"
                    + "variants:\n"
                    + "- grace-int4\n"
                    + "- rtn-int4\n"
                    + "- {name: plain, preset: rtn-int4, symmetric: true, quantizer: mse}\n"
                    + "- bf16\n")
            .getVariantsList();
    assertThat(all).extracting(Variant::getSymmetric).containsExactly(true, false, true, true);
    assertThat(all).extracting(Variant::getQuantizer).containsExactly("trained", "rtn", "mse", "");
    // What is stored without the switches is stored under the same key.
    assertThat(Variants.exported(all.get(1)).getSymmetric()).isFalse();
    assertThat(Variants.exported(all.get(2)).hasSymmetric()).isFalse();
    assertThat(Variants.trained(all.get(0)).hasSymmetric()).isFalse();
    assertThat(Variants.trained(all.get(0)).hasQuantizer()).isFalse();
  }

  @Test
  void variantsOfTheRecipesOwnAreSwitchesOverAPresetOrOverNone() {
    Recipe recipe =
        resolve(
            "quantization: {bits: 3, group_size: 64}\n"
                + "variants:\n"
                + "- {name: half, source: train, quantized: true, distillation: dkd, gate: true,"
                + " fixed_beta: 0.25}\n"
                + "- {name: wide, preset: grace-int4, bits: 8, group_size: -1}\n"
                + "- {name: start, source: baseline}\n");
    assertThat(recipe.getVariants(0))
        .isEqualTo(
            Variant.newBuilder()
                .setName("half")
                .setSource("train")
                .setQuantized(true)
                .setBits(3)
                .setGroupSize(64)
                .setPerTensor(false)
                .setSymmetric(true)
                .setQuantizer("trained")
                .setDistillation("dkd")
                .setGate(true)
                .setRcka(false)
                .setAdaptiveBeta(false)
                .setFixedBeta(0.25)
                .setHeadBits(16)
                .setVisionBits(16)
                .setProjectorBits(16)
                .setKvBits(16)
                .build());
    assertThat(recipe.getVariants(1))
        .isEqualTo(
            resolve("variants: [grace-int4]\n").getVariants(0).toBuilder()
                .setName("wide")
                .setBits(8)
                .setGroupSize(-1)
                .build());
    assertThat(recipe.getVariants(2))
        .isEqualTo(
            resolve("variants: [bf16]\n").getVariants(0).toBuilder().setName("start").build());
    assertThat(RecipeReader.resolve(recipe)).isEqualTo(recipe);
    assertThat(RecipeReader.parse(RecipeReader.toYaml(recipe), "r")).isEqualTo(recipe);
  }

  @Test
  void everyPresetResolves() {
    Recipe recipe = resolve("variants: [" + String.join(", ", Variants.presets()) + "]\n");
    assertThat(recipe.getVariantsList()).hasSize(25).extracting(Variant::getBits).doesNotContain(0);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "grace: {temprature: 2}        | r.yaml:4: grace.temprature: unknown key 'temprature' |"
            + " temperature, alpha",
        "shards: 1\nshards: 1         | r.yaml:5: shards: key 'shards' is written twice | once",
        "shards: two                   | r.yaml:4: shards: 'two' is not | a whole number",
        "shards: 0                     | r.yaml:4: shards: '0' | 1 to 4096",
        "shards: '2'                   | shards: '2' is not | a whole number",
        "shards: 010                   | shards: '010' | a whole number",
        "shards: 9999999999            | shards: '9999999999' | a whole number",
        "shards:                       | shards: '' | a whole number",
        "quantization: {bits: 5}       | quantization.bits: '5' | one of 2, 3, 4, 8",
        "quantization: {group_size: 0} | quantization.group_size: '0' | positive number, or -1",
        "quantization: {head_bits: 3}  | quantization.head_bits: '3' | one of 16, 8, 4",
        "quantization: {vision_bits: 4} | quantization.vision_bits: '4' | one of 16, 8",
        "quantization: {projector_bits: 0} | quantization.projector_bits: '0' | one of 16, 8",
        "quantization: {kv_bits: 32}   | quantization.kv_bits: '32' | one of 16, 8",
        "variants: [{name: grace-int4, kv_bits: 4}] | variants[0].kv_bits: '4' | one of 16, 8",
        "quantization: {per_tensor: yes} | quantization.per_tensor: 'yes' | true or false",
        "grace: {omega: .nan}          | grace.omega: '.nan' | a finite number",
        "grace: {alpha: -1}            | grace.alpha: '-1' | 0 or above",
        "grace: 3                      | grace: '3' | a map with keys temperature",
        "variants: [grace-int5]        | variants[0]: 'grace-int5' | one of teacher, bf16",
        "variants: [{name: x, preset: grace-int5}] | variants[0].preset: 'grace-int5' | one of"
            + " teacher, bf16",
        "variants: [{name: Mine, source: train}] | variants[0].name: 'Mine' | text like [a-z0-9]",
        "variants: [{name: a/b, source: train}] | variants[0].name: 'a/b' | text like [a-z0-9]",
        "variants: [{name: x, source: gptq}] | variants[0].source: 'gptq' | one of teacher,"
            + " baseline",
        "variants: []                  | variants: an empty list | at least one entry",
        "variants: [{name: bf16, x: 1}] | variants[0].x: unknown key 'x' | name, source",
        "seeds: []                     | seeds: an empty list | at least one",
        "seeds: [-1]                   | seeds[0]: '-1' | 0 to",
        "engine: {device: gpu}         | engine.device: 'gpu' | cpu|cuda",
        "engine: {device: 'cuda:100'}  | engine.device: 'cuda:100' | cpu|cuda",
        "engine: {threads: 1025}       | engine.threads: '1025' | 0 to 1024",
        "engine: {threads: -1}         | engine.threads: '-1' | a whole number",
        "engine: {name: 3}             | engine.name: '3' | text",
        "teacher_cache: {form: half}   | teacher_cache.form: 'half' | one of full, top-k",
        "grace: [                      | r.yaml: is not YAML | one YAML document",
        "grace: !!java.util.Date {}    | Global tag is not allowed | one YAML document",
      })
  void readingNamesKeyValueAndAllowed(String line) {
    String[] parts = line.split("\\|", 3);
    GraceException error = failure(parts[0].strip());
    String start = parts[1].strip().replace("r.yaml: is", "is");
    assertThat(error.category()).isEqualTo(Category.USER);
    assertThat(error.getMessage()).contains("allowed: ").doesNotContain("\n");
    assertThat(error.getMessage()).contains(start).contains(parts[2].strip());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "shards: 3 | shards: '3' | a divisor of the 4 micro-batches",
        "rounds: 3 | rounds: '3' | a divisor of baseline.steps, which is 500",
        "baseline: {micro_batch_examples: 7} | baseline.micro_batch_examples: '7' | a divisor",
        "seeds: [1, 1] | seeds[1]: '1' again | each value once",
        "variants: [bf16, bf16] | variants[1]: 'bf16' again | each value once",
        "variants: [{name: grace-int4, bits: 3}] | grace-int4.bits: '3' | 4, as the name says",
        "variants: [{name: bf16, head_bits: 8}] | bf16.head_bits: '8' | 16 where not quantized",
        "variants: [{name: grace-int4-all8, kv_bits: 16}] | all8.kv_bits: '16' | 8, as the name"
            + " says",
        "variants: [{name: grace-int4-head8, bits: 8}] | head8.bits: '8' | 4, as the name says",
        "variants: [{name: qat-int4, gate: true}] | gate: 'true' | false where distillation is"
            + " none",
        "variants: [{name: kd-int4, gate: true}] | gate: 'true' | false where distillation is kd",
        "variants: [{name: x, quantized: true}] | x.source: '' | as name or preset one of teacher,"
            + " bf16",
        "variants: [{name: ''}] | variants[0].name: '' | text like",
        "variants: [{source: train}] | variants[0].name: '' | text like",
        "variants: [{name: x, source: train, rcka: true}] | x.rcka: 'true' | false where"
            + " distillation is none",
        "variants: [{name: x, source: train, bits: 4}] | x.bits: '4' | 16 where not quantized",
        "variants: [{name: x, source: teacher, quantized: true}] | x.source: 'teacher' | rtn or"
            + " train",
        "variants: [{name: x, source: teacher, bits: 4}] | x.bits: '4' | 16 where not quantized",
        "variants: [{name: x, source: rtn}] | x.source: 'rtn' | teacher, baseline or train",
        "variants: [{name: x, source: train, group_size: 8}] | x.group_size: '8' | 0 where not"
            + " quantized",
        "variants: [{name: x, source: train, per_tensor: true}] | x.per_tensor: 'true' | false"
            + " where not",
        "variants: [{name: x, source: train, symmetric: false}] | x.symmetric: 'false' | true where"
            + " not quantized",
        "variants: [{name: x, preset: grace-int4, symmetric: false}] | x.symmetric: 'false' | true"
            + " where source is train; trained scales have no zero points",
        "variants: [{name: x, preset: grace-int4, quantizer: rtn}] | x.quantizer: 'rtn' | trained"
            + " where source is train",
        "variants: [{name: x, preset: rtn-int4, quantizer: trained}] | x.quantizer: 'trained' | any"
            + " but trained where source is rtn",
        "variants: [{name: x, source: train, quantizer: rtn}] | x.quantizer: 'rtn' | none where not"
            + " quantized",
        "variants: [{name: x, preset: rtn-int4, quantizer: A B}] | variants[0].quantizer: 'A B' |"
            + " text like",
        "variants: [{name: x, preset: grace-int4, fixed_beta: 1}] | x.fixed_beta: '1.0' | 0.5 where"
            + " adaptive_beta",
        "variants: [{name: x, preset: qat-int4, fixed_beta: 1}] | x.fixed_beta: '1.0' | 0.5 where"
            + " distillation",
        "variants: [{name: x, preset: qat-int4, adaptive_beta: true}] | x.adaptive_beta: 'true' |"
            + " false where",
        "variants: [{name: grace-int4, preset: qat-int2}] | grace-int4.bits: '2' | 4, as the name"
            + " says",
        "variants: [{name: rtn-int4, preset: qat-int4}] | rtn-int4.source: 'train' | rtn, as the"
            + " name says",
        "variants: [{name: bf16, preset: bf16-more-steps}] | bf16.source: 'train' | baseline, as"
            + " the name",
        "variants: [{name: bf16, source: rtn}] | source: 'rtn' | teacher, baseline or train",
        "variants: [{name: grace-int4, source: rtn}] | distillation: 'dkd' | none where source is"
            + " rtn",
        "teacher_cache: {gram: none} | teacher_cache.gram: 'none' | bf16 or f32",
        "grace: {controller: {beta_init: 2}} | grace.controller.beta_init: '2.0' | 0.1 and 1.0",
      })
  void resolvingNamesKeyValueAndAllowed(String line) {
    String[] parts = line.split("\\|", 3);
    GraceException error = failure(parts[0].strip());
    assertThat(error.category()).isEqualTo(Category.USER);
    assertThat(error.getMessage()).contains(parts[1].strip());
    assertThat(error.getMessage()).contains("allowed: ").contains(parts[2].strip());
  }

  @Test
  void requiredKeysAreAskedFor() {
    String[] texts = {"shards: 1", "name: x", "name: x\ndata: {train: d}"};
    String[] keys = {"name: ''", "data.train: ''", "models.student: ''"};
    for (int i = 0; i < texts.length; i++) {
      Recipe recipe = RecipeReader.parse(texts[i], "r");
      GraceException error =
          catchThrowableOfType(GraceException.class, () -> RecipeReader.resolve(recipe));
      assertThat(error).hasMessageContainingAll(keys[i], "allowed");
    }
  }

  @Test
  void teacherIsNeededByVariantsThatDistil() {
    Recipe recipe =
        RecipeReader.parse(
            "name: x\ndata: {train: d}\nmodels: {student: s}\nvariants: [kd-int4]", "r");
    assertThat(catchThrowableOfType(GraceException.class, () -> RecipeReader.resolve(recipe)))
        .hasMessageContainingAll("models.teacher", "kd-int4");
  }

  @Test
  void missingFileIsNamed() {
    assertThat(
            catchThrowableOfType(
                GraceException.class, () -> RecipeReader.read(Path.of("nowhere.yaml"))))
        .hasMessageContaining("nowhere.yaml");
  }

  @Property(tries = 100)
  void yamlGivesTheRecipeBack(
      @ForAll String folder,
      @ForAll @DoubleRange(min = 1e-12, max = 1) @Scale(15) double rate,
      @ForAll long seed) {
    Recipe.Builder recipe = resolve("").toBuilder().addSeeds(seed & Long.MAX_VALUE);
    recipe.getDataBuilder().setTrain(folder);
    recipe.getBaselineBuilder().setLearningRate(rate);
    String yaml = RecipeReader.toYaml(recipe.build());
    assertThat(RecipeReader.parse(yaml, "r")).isEqualTo(recipe.build());
    assertThat(RecipeReader.toYaml(RecipeReader.parse(yaml, "r"))).isEqualTo(yaml);
  }

  private static Recipe resolve(String more) {
    return RecipeReader.resolve(RecipeReader.parse(MINIMAL + more, "r.yaml"));
  }

  private static GraceException failure(String more) {
    return catchThrowableOfType(GraceException.class, () -> resolve(more));
  }
}
