package io.gracebeam.proto.recipe;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Benchmark;
import io.gracebeam.proto.v1.Controller;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Whether a resolved recipe is possible: each value by itself, then the values together. */
final class RecipeChecks {
  private RecipeChecks() {}

  static void check(Recipe recipe) {
    require(!recipe.getName().isEmpty(), "name", "''", "text like [a-z0-9-]{1,40}");
    ranges(recipe, "");
    require(!recipe.getData().getTrain().isEmpty(), "data.train", "''", "a folder with train.json");
    require(
        !recipe.getModels().getStudent().isEmpty(),
        "models.student",
        "''",
        "a Hugging Face model folder");
    benchmarks(recipe.getData().getBenchmarksList());
    training("baseline", recipe.getBaseline(), recipe);
    training("distillation", recipe.getDistillation(), recipe);
    controller(recipe.getGrace().getController());
    unique("seeds", recipe.getSeedsList());
    unique("variants", recipe.getVariantsList().stream().map(Variant::getName).toList());
    for (int i = 0; i < recipe.getVariantsCount(); i++) {
      Variant variant = recipe.getVariants(i);
      String path = "variants[" + i + "]";
      require(!variant.getName().isEmpty(), path + ".name", "''", "text like [a-z0-9-]{1,40}");
      variant(path + " " + variant.getName() + ".", variant, recipe);
    }
  }

  private static void ranges(Message message, String prefix) {
    message
        .getAllFields()
        .forEach(
            (field, value) -> {
              String path = prefix + field.getName();
              if (!field.isRepeated()) {
                range(field, value, path);
                return;
              }
              List<?> values = (List<?>) value;
              for (int i = 0; i < values.size(); i++) {
                range(field, values.get(i), path + "[" + i + "]");
              }
            });
  }

  private static void range(FieldDescriptor field, Object value, String path) {
    if (value instanceof Message nested) {
      ranges(nested, path + ".");
      return;
    }
    Ranges.violation(field, value)
        .ifPresent(allowed -> require(false, path, "'" + value + "'", allowed));
  }

  private static void benchmarks(List<Benchmark> benchmarks) {
    for (int i = 0; i < benchmarks.size(); i++) {
      Benchmark benchmark = benchmarks.get(i);
      String path = "data.benchmarks[" + i + "].";
      require(!benchmark.getName().isEmpty(), path + "name", "''", "a name");
      require(!benchmark.getFormat().isEmpty(), path + "format", "''", "a benchmark format");
      require(!benchmark.getPath().isEmpty(), path + "path", "''", "the question file");
    }
    unique("data.benchmarks", benchmarks.stream().map(Benchmark::getName).toList());
  }

  private static void training(String path, Training training, Recipe recipe) {
    int batch = training.getBatchExamples();
    int micro = training.getMicroBatchExamples();
    require(
        batch % micro == 0,
        path + ".micro_batch_examples",
        "'" + micro + "'",
        "a divisor of " + path + ".batch_examples, which is " + batch);
    int microBatches = batch / micro;
    require(
        microBatches % recipe.getShards() == 0,
        "shards",
        "'" + recipe.getShards() + "'",
        "a divisor of the " + microBatches + " micro-batches of a " + path + " batch");
    require(
        training.getSteps() % recipe.getRounds() == 0,
        "rounds",
        "'" + recipe.getRounds() + "'",
        "a divisor of " + path + ".steps, which is " + training.getSteps());
  }

  private static void controller(Controller controller) {
    double init = controller.getBetaInit();
    require(
        controller.getBetaMin() <= init && init <= controller.getBetaMax(),
        "grace.controller.beta_init",
        "'" + init + "'",
        "beta_min to beta_max, which are "
            + controller.getBetaMin()
            + " and "
            + controller.getBetaMax());
  }

  private static void variant(String path, Variant variant, Recipe recipe) {
    String source = variant.getSource();
    require(
        !source.isEmpty(),
        path + "source",
        "''",
        "teacher, baseline, rtn or train, or as name or preset one of "
            + String.join(", ", Variants.presets()));
    boolean quantized = variant.getQuantized();
    String bits = "'" + variant.getBits() + "'";
    if (quantized) {
      require(variant.getBits() != 16, path + "bits", bits, "one of 2, 3, 4, 8 where quantized");
    } else {
      require(variant.getBits() == 16, path + "bits", bits, "16 where not quantized");
      require(!variant.getPerTensor(), path + "per_tensor", "'true'", "false where not quantized");
      require(variant.getSymmetric(), path + "symmetric", "'false'", "true where not quantized");
      require(
          variant.getQuantizer().isEmpty(),
          path + "quantizer",
          "'" + variant.getQuantizer() + "'",
          "none where not quantized");
      require(
          variant.getGroupSize() == 0,
          path + "group_size",
          "'" + variant.getGroupSize() + "'",
          "0 where not quantized");
      for (FieldDescriptor field : Variants.LAYOUT) {
        Object value = variant.getField(field);
        require(
            value.equals(16), path + field.getName(), "'" + value + "'", "16 where not quantized");
      }
    }
    boolean asIs = source.equals("teacher") || source.equals("baseline");
    require(
        !(asIs && quantized), path + "source", "'" + source + "'", "rtn or train where quantized");
    require(
        quantized || !source.equals("rtn"),
        path + "source",
        "'rtn'",
        "teacher, baseline or train where not quantized");
    require(
        variant.getSymmetric() || !source.equals("train"),
        path + "symmetric",
        "'false'",
        "true where source is train; trained scales have no zero points");
    require(
        !quantized || source.equals("train") == variant.getQuantizer().equals(Variants.TRAINED),
        path + "quantizer",
        "'" + variant.getQuantizer() + "'",
        source.equals("train")
            ? "trained where source is train"
            : "any but trained where source is " + source);
    boolean distils = Variants.distils(variant);
    require(
        !distils || source.equals("train"),
        path + "distillation",
        "'" + variant.getDistillation() + "'",
        "none where source is " + source);
    require(
        !variant.getGate() || variant.getDistillation().equals("dkd"),
        path + "gate",
        "'true'",
        "false where distillation is " + variant.getDistillation() + "; the gate belongs to dkd");
    require(
        distils || !variant.getRcka(), path + "rcka", "'true'", "false where distillation is none");
    require(
        distils || !variant.getAdaptiveBeta(),
        path + "adaptive_beta",
        "'true'",
        "false where distillation is none");
    require(
        variant.getFixedBeta() == Variants.FIXED_BETA || (distils && !variant.getAdaptiveBeta()),
        path + "fixed_beta",
        "'" + variant.getFixedBeta() + "'",
        Variants.FIXED_BETA
            + (distils ? " where adaptive_beta is true" : " where distillation is none"));
    require(
        !variant.getRcka() || !recipe.getTeacherCache().getGram().equals("none"),
        "teacher_cache.gram",
        "'none'",
        "bf16 or f32 where a variant uses rcka, as " + variant.getName() + " does");
    require(
        !Variants.needsTeacher(variant) || !recipe.getModels().getTeacher().isEmpty(),
        "models.teacher",
        "''",
        "a Hugging Face model folder where a variant needs it, as " + variant.getName() + " does");
    named(path, variant);
  }

  /** A preset's own name promises its source and its bits; another name may have any. */
  private static void named(String path, Variant variant) {
    Variants.promise(variant.getName())
        .forEach(
            (field, promised) ->
                require(
                    variant.getField(field).equals(promised),
                    path + field.getName(),
                    "'" + variant.getField(field) + "'",
                    promised + ", as the name says (or another name)"));
  }

  private static void unique(String path, List<?> values) {
    Set<Object> seen = new HashSet<>();
    for (int i = 0; i < values.size(); i++) {
      Object value = values.get(i);
      require(seen.add(value), path + "[" + i + "]", "'" + value + "' again", "each value once");
    }
  }

  private static void require(boolean holds, String path, String value, String allowed) {
    if (!holds) {
      throw GraceException.user("%s: %s is not allowed; allowed: %s", path, value, allowed);
    }
  }
}
