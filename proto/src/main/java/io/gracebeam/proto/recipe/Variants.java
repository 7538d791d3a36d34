package io.gracebeam.proto.recipe;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.Variant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The rows of the accuracy table by their fixed names, each a set of switches over one trainer
 * (arXiv 2601.22709; the partial methods are its ablations and baselines).
 */
public final class Variants {
  /** Weight of the distillation loss where it is not adapted. */
  public static final double FIXED_BETA = 0.5;

  private static final Pattern BITS = Pattern.compile("-int(\\d)$");
  private static final Map<String, Variant> CATALOGUE = catalogue();

  private Variants() {}

  /** All names, in the order of the table. */
  public static List<String> names() {
    return List.copyOf(CATALOGUE.keySet());
  }

  /**
   * The switches behind {@code name}; group size is 0 (the recipe's) and bits are the name's.
   *
   * @throws GraceException (user) where there is no such variant
   */
  public static Variant get(String name) {
    Variant variant = CATALOGUE.get(name);
    if (variant == null) {
      throw GraceException.user(
          "variants: '%s' is no variant; allowed: %s", name, String.join(", ", names()));
    }
    return variant;
  }

  /**
   * The catalogue's switches, overridden by those that {@code partial} sets, with the recipe's
   * quantisation where neither says anything; 16 bits and group size 0 where the variant is not
   * quantised.
   *
   * @throws GraceException (user) where the name is unknown
   */
  public static Variant resolve(Variant partial, Quantization quantization) {
    Variant.Builder variant = get(partial.getName()).toBuilder().mergeFrom(partial);
    if (!variant.getQuantized()) {
      if (!partial.hasBits() || partial.getBits() == 0) {
        variant.setBits(16);
      }
      return variant.build();
    }
    if (variant.getBits() == 0) {
      variant.setBits(bitsOf(partial.getName(), quantization.getBits()));
    }
    if (variant.getGroupSize() == 0) {
      variant.setGroupSize(quantization.getGroupSize());
    }
    if (!partial.hasPerTensor() && quantization.getPerTensor()) {
      variant.setPerTensor(true);
    }
    return variant.build();
  }

  /** Whether the variant needs the teacher: to be evaluated, or for its signals. */
  public static boolean needsTeacher(Variant variant) {
    return variant.getSource().equals("teacher") || distils(variant);
  }

  /** Whether the variant is trained on the teacher's signals. */
  public static boolean distils(Variant variant) {
    return !variant.getDistillation().isEmpty() && !variant.getDistillation().equals("none");
  }

  /** The bits in a name such as {@code grace-int3}, or {@code otherwise} where it has none. */
  static int bitsOf(String name, int otherwise) {
    Matcher matcher = BITS.matcher(name);
    return matcher.find() ? Integer.parseInt(matcher.group(1)) : otherwise;
  }

  private static Map<String, Variant> catalogue() {
    Map<String, Variant> all = new LinkedHashMap<>();
    add(all, "teacher", "teacher", v -> {});
    add(all, "bf16", "baseline", v -> {});
    add(all, "bf16-more-steps", "train", v -> {});
    add(all, "bf16-distilled", "train", Variants::grace);
    for (String bits : List.of("int4", "int3", "int2")) {
      add(all, "rtn-" + bits, "rtn", v -> {});
    }
    for (String bits : List.of("int4", "int2")) {
      add(all, "qat-" + bits, "train", v -> {});
    }
    for (String bits : List.of("int4", "int2")) {
      add(all, "kd-" + bits, "train", v -> v.setDistillation("kd"));
    }
    add(all, "dkd-int4", "train", v -> grace(v).setGate(false));
    add(all, "no-rcka-int4", "train", v -> grace(v).setRcka(false));
    add(all, "fixed-beta-int4", "train", v -> grace(v).setAdaptiveBeta(false));
    add(all, "per-tensor-int4", "train", v -> grace(v).setPerTensor(true));
    for (String bits : List.of("int8", "int4", "int3", "int2")) {
      add(all, "grace-" + bits, "train", Variants::grace);
    }
    return all;
  }

  private static void add(
      Map<String, Variant> all, String name, String source, Consumer<Variant.Builder> switches) {
    int bits = bitsOf(name, 0);
    Variant.Builder variant =
        Variant.newBuilder()
            .setName(name)
            .setSource(source)
            .setQuantized(bits > 0)
            .setBits(bits)
            .setGroupSize(0)
            .setPerTensor(false)
            .setDistillation("none")
            .setGate(false)
            .setRcka(false)
            .setAdaptiveBeta(false)
            .setFixedBeta(FIXED_BETA);
    switches.accept(variant);
    all.put(name, variant.build());
  }

  private static Variant.Builder grace(Variant.Builder variant) {
    return variant.setDistillation("dkd").setGate(true).setRcka(true).setAdaptiveBeta(true);
  }
}
