package io.gracebeam.proto.recipe;

import com.google.protobuf.Descriptors.FieldDescriptor;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;

/** What each single value may be, whatever the others are. */
final class Ranges {
  private record Rule(String allowed, Predicate<Object> holds) {}

  private static final String PACKAGE = "gracebeam.v1.";
  private static final Map<String, Rule> RULES = rules();

  private Ranges() {}

  /** What is allowed, if {@code value} is not; empty if it is. */
  static Optional<String> violation(FieldDescriptor field, Object value) {
    Rule rule = RULES.get(field.getFullName());
    return rule == null || rule.holds().test(value)
        ? Optional.empty()
        : Optional.of(rule.allowed());
  }

  private static Map<String, Rule> rules() {
    Map<String, Rule> rules = new LinkedHashMap<>();
    pattern(rules, "Recipe.name", "[a-z0-9-]{1,40}");
    integer(rules, "Recipe.shards", 1, 4096);
    integer(rules, "Recipe.rounds", 1, 4096);
    integer(rules, "Data.shard_examples", 1, 1 << 20);
    pattern(rules, "Benchmark.format", "[a-z0-9][a-z0-9.-]{0,39}");
    integer(rules, "Benchmark.max_new_tokens", 0, 1 << 16);
    pattern(rules, "Benchmark.name", "[A-Za-z0-9][A-Za-z0-9._-]{0,39}");
    integer(rules, "Training.steps", 1, 100_000_000);
    integer(rules, "Training.batch_examples", 1, 1 << 20);
    integer(rules, "Training.micro_batch_examples", 1, 1 << 20);
    integer(rules, "Training.loss_memory_mb", 1, 1024);
    real(rules, "Training.learning_rate", "above 0, at most 1", v -> v > 0 && v <= 1);
    real(rules, "Training.weight_decay", "0 to 1", v -> v >= 0 && v <= 1);
    real(rules, "Training.beta1", "0 to below 1", v -> v >= 0 && v < 1);
    real(rules, "Training.beta2", "0 to below 1", v -> v >= 0 && v < 1);
    real(rules, "Training.clip_norm", "0 (no clipping) or above", v -> v >= 0);
    real(rules, "Training.warmup_fraction", "0 to 1", v -> v >= 0 && v <= 1);
    real(rules, "Training.scale_rate_factor", "0 or above", v -> v >= 0);
    real(rules, "Grace.temperature", "above 0, at most 100", v -> v > 0 && v <= 100);
    for (String weight : List.of("alpha", "beta_dkd", "omega")) {
      real(rules, "Grace." + weight, "0 or above", v -> v >= 0);
    }
    for (String bound : List.of("tau", "eta", "beta_init", "beta_min", "beta_max")) {
      real(rules, "Controller." + bound, "0 or above", v -> v >= 0);
    }
    real(rules, "Controller.ema_decay", "0 to below 1", v -> v >= 0 && v < 1);
    numbers(rules, "Quantization.bits", 2, 3, 4, 8);
    rules.put(
        PACKAGE + "Quantization.group_size",
        new Rule("a positive number, or -1 for one group per row", v -> isGroupSize((int) v)));
    numbers(rules, "Variant.bits", 0, 2, 3, 4, 8, 16);
    rules.put(
        PACKAGE + "Variant.group_size",
        new Rule(
            "a positive number, -1 for one group per row, or 0 for quantization.group_size",
            v -> isGroupSize((int) v) || (int) v == 0));
    for (String owner : List.of("Quantization.", "Variant.")) {
      numbers(rules, owner + "head_bits", 16, 8, 4);
      numbers(rules, owner + "vision_bits", 16, 8);
      numbers(rules, owner + "projector_bits", 16, 8);
      numbers(rules, owner + "kv_bits", 16, 8);
    }
    oneOf(rules, "Variant.source", "teacher", "baseline", "rtn", "train");
    oneOf(rules, "Variant.distillation", "none", "kd", "dkd");
    real(rules, "Variant.fixed_beta", "0 or above", v -> v >= 0);
    pattern(rules, "Variant.name", "[a-z0-9][a-z0-9-]{0,39}");
    pattern(rules, "Variant.quantizer", "([a-z0-9][a-z0-9-]{0,39})?");
    oneOf(rules, "Variant.preset", Variants.presets().toArray(String[]::new));
    oneOf(rules, "TeacherCache.form", "full", "top-k");
    integer(rules, "TeacherCache.top_k", 1, 1 << 20);
    oneOf(rules, "TeacherCache.gram", "bf16", "f32", "none");
    integer(rules, "Evaluation.max_new_tokens", 0, 1 << 16);
    integer(rules, "Evaluation.batch", 1, 1 << 16);
    integer(rules, "Evaluation.bootstrap", 1, 10_000_000);
    real(rules, "OuterOptimizer.learning_rate", "above 0, at most 10", v -> v > 0 && v <= 10);
    real(rules, "OuterOptimizer.momentum", "0 to below 1", v -> v >= 0 && v < 1);
    pattern(rules, "EngineSettings.name", "[A-Za-z][A-Za-z0-9_-]{0,39}");
    integer(rules, "EngineSettings.threads", 0, 1024);
    pattern(rules, "EngineSettings.device", "cpu|cuda:[0-9]{1,2}");
    pattern(rules, "EngineSettings.compute", "auto|float32|bfloat16");
    return rules;
  }

  private static boolean isGroupSize(int value) {
    return value > 0 || value == -1;
  }

  private static void integer(Map<String, Rule> rules, String field, int low, int high) {
    rules.put(
        PACKAGE + field, new Rule(low + " to " + high, v -> (int) v >= low && (int) v <= high));
  }

  private static void numbers(Map<String, Rule> rules, String field, Integer... values) {
    List<Integer> allowed = List.of(values);
    String text = allowed.toString().replaceAll("[\\[\\]]", "");
    rules.put(PACKAGE + field, new Rule("one of " + text, v -> allowed.contains((Integer) v)));
  }

  private static void real(
      Map<String, Rule> rules, String field, String allowed, Predicate<Double> holds) {
    rules.put(
        PACKAGE + field,
        new Rule(
            "a finite number, " + allowed,
            v -> Double.isFinite((double) v) && holds.test((double) v)));
  }

  private static void oneOf(Map<String, Rule> rules, String field, String... values) {
    List<String> allowed = List.of(values);
    rules.put(
        PACKAGE + field,
        new Rule("one of " + String.join(", ", allowed), v -> allowed.contains((String) v)));
  }

  private static void pattern(Map<String, Rule> rules, String field, String regex) {
    rules.put(PACKAGE + field, new Rule("text like " + regex, v -> ((String) v).matches(regex)));
  }
}
