package io.gracebeam.proto.recipe;

import com.google.protobuf.Descriptors.FieldDescriptor;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.Variant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The rows of the accuracy table by their fixed names, each a set of switches over one trainer
 * (arXiv 2601.22709; the partial methods are its ablations and baselines).
 */
public final class Variants {
  /** Weight of the distillation loss where it is not adapted. */
  public static final double FIXED_BETA = 0.5;

  /**
   * Bits of what a deployed model has beside its decoder's weights; training does not read them.
   */
  static final List<FieldDescriptor> LAYOUT =
      Stream.of("head_bits", "vision_bits", "projector_bits", "kv_bits")
          .map(name -> Variant.getDescriptor().findFieldByName(name))
          .toList();

  private static final Pattern BITS = Pattern.compile("-int(\\d)(?:-[a-z]+\\d)?$");
  private static final Integer FULL_BITS = 16;
  private static final Map<String, Variant> CATALOG = catalog();

  private Variants() {}

  /** All names, in the order of the table. */
  public static List<String> names() {
    return List.copyOf(CATALOG.keySet());
  }

  /**
   * The switches behind {@code name}; group size is 0 (the recipe's) and bits are the name's.
   *
   * @throws GraceException (user) where there is no such variant
   */
  public static Variant get(String name) {
    Variant variant = CATALOG.get(name);
    if (variant == null) {
      throw GraceException.user(
          "variants: '%s' is no variant; allowed: %s", name, String.join(", ", names()));
    }
    return variant;
  }

  /**
   * The catalog's switches, overridden by those that {@code partial} sets, with the recipe's
   * quantization where neither says anything; 16 bits and group size 0 where the variant is not
   * quantized.
   *
   * @throws GraceException (user) where the name is unknown
   */
  public static Variant resolve(Variant partial, Quantization quantization) {
    Variant.Builder variant = get(partial.getName()).toBuilder().mergeFrom(partial);
    for (FieldDescriptor field : LAYOUT) {
      if (!variant.hasField(field)) {
        FieldDescriptor all = Quantization.getDescriptor().findFieldByName(field.getName());
        boolean said = variant.getQuantized() && quantization.hasField(all);
        variant.setField(field, said ? quantization.getField(all) : (Object) FULL_BITS);
      }
    }
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

  /**
   * The part of a resolved variant that an export reads: bits that are left at 16 are not
   * mentioned, so that what such a variant is stored under does not depend on these options.
   */
  public static Variant exported(Variant variant) {
    Variant.Builder out = variant.toBuilder();
    for (FieldDescriptor field : LAYOUT) {
      if (out.getField(field).equals(FULL_BITS)) {
        out.clearField(field);
      }
    }
    return out.build();
  }

  /**
   * The part of a resolved variant that training reads: variants which differ only in what is
   * rounded after training give the same, so they share the trained model.
   */
  public static Variant trained(Variant variant) {
    Variant.Builder out = variant.toBuilder().setName(sibling(variant.getName()));
    LAYOUT.forEach(out::clearField);
    return out.build();
  }

  /**
   * The variant that one such as {@code grace-int4-kv8} differs from only in what is rounded after
   * training; for all others the name itself.
   */
  public static String sibling(String name) {
    Matcher matcher = BITS.matcher(name);
    return matcher.find() ? name.substring(0, matcher.end(1)) : name;
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

  private static Map<String, Variant> catalog() {
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
    add(all, "rtn-int4-all8", "rtn", v -> all8(v));
    add(all, "grace-int4-head8", "train", v -> grace(v).setHeadBits(8));
    add(all, "grace-int4-head4", "train", v -> grace(v).setHeadBits(4));
    add(all, "grace-int4-vision8", "train", v -> grace(v).setVisionBits(8));
    add(all, "grace-int4-kv8", "train", v -> grace(v).setKvBits(8));
    add(all, "grace-int4-all8", "train", v -> all8(grace(v)));
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

  private static Variant.Builder all8(Variant.Builder variant) {
    return variant.setHeadBits(8).setVisionBits(8).setProjectorBits(8).setKvBits(8);
  }
}
