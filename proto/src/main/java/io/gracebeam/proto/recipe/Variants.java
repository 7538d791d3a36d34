package io.gracebeam.proto.recipe;

import com.google.protobuf.Descriptors.FieldDescriptor;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.Variant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * The rows of the accuracy table, each a set of switches over one trainer (arXiv 2601.22709). A
 * recipe names presets (the method, its ablations and baselines) or sets switches of its own;
 * everything after the recipe reads switches, never a name.
 */
public final class Variants {
  /** Weight of the distillation loss where it is not adapted. */
  public static final double FIXED_BETA = 0.5;

  /**
   * Bits of what a deployed model has beside its decoder's weights; training does not read them.
   */
  static final List<FieldDescriptor> LAYOUT =
      fields("head_bits", "vision_bits", "projector_bits", "kv_bits");

  private static final List<FieldDescriptor> PROMISED = fields("source", "quantized", "bits");
  private static final List<FieldDescriptor> EXPORTED =
      fields("quantized", "bits", "group_size", "per_tensor");
  private static final Integer FULL_BITS = 16;

  /** The quantizer of trained scales. */
  static final String TRAINED = "trained";

  /** Switches of a variant of which the recipe says nothing; it has no source yet. */
  private static final Variant PLAIN =
      Variant.newBuilder()
          .setQuantized(false)
          .setBits(0)
          .setGroupSize(0)
          .setPerTensor(false)
          .setSymmetric(true)
          .setQuantizer("")
          .setDistillation("none")
          .setGate(false)
          .setRcka(false)
          .setAdaptiveBeta(false)
          .setFixedBeta(FIXED_BETA)
          .build();

  private static final Map<String, Variant> PRESETS = catalog();

  private Variants() {}

  private static List<FieldDescriptor> fields(String... names) {
    return Stream.of(names).map(Variant.getDescriptor()::findFieldByName).toList();
  }

  /** Names of the presets, in the order of the table. */
  public static List<String> presets() {
    return List.copyOf(PRESETS.keySet());
  }

  /**
   * The switches of a preset, under its name; group size is 0 (the recipe's).
   *
   * @throws GraceException (user) where there is no such preset
   */
  public static Variant preset(String name) {
    Variant variant = PRESETS.get(name);
    if (variant == null) {
      throw GraceException.user(
          "variants: '%s' is no preset; allowed: %s", name, String.join(", ", presets()));
    }
    return variant;
  }

  /** What the name of a preset promises: its source and all its bits; empty for other names. */
  static Map<FieldDescriptor, Object> promise(String name) {
    Map<FieldDescriptor, Object> promise = new LinkedHashMap<>();
    Variant preset = PRESETS.get(name);
    if (preset != null) {
      Stream.concat(PROMISED.stream(), LAYOUT.stream())
          .filter(preset::hasField)
          .forEach(field -> promise.put(field, preset.getField(field)));
      if (!preset.getQuantized()) {
        promise.put(Variant.getDescriptor().findFieldByName("bits"), FULL_BITS);
      }
    }
    return promise;
  }

  /**
   * The switches that {@code partial} sets, else those of its preset (or of the preset of its
   * name), else the recipe's quantization, else none; 16 bits and group size 0 where the variant is
   * not quantized. The result names no preset.
   *
   * @throws GraceException (user) where the preset is unknown
   */
  public static Variant resolve(Variant partial, Quantization quantization) {
    Variant base =
        partial.hasPreset()
            ? preset(partial.getPreset())
            : PRESETS.getOrDefault(partial.getName(), PLAIN);
    Variant.Builder variant = base.toBuilder().mergeFrom(partial).clearPreset();
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
      variant.setBits(quantization.getBits());
    }
    if (variant.getGroupSize() == 0) {
      variant.setGroupSize(quantization.getGroupSize());
    }
    if (!partial.hasPerTensor() && quantization.getPerTensor()) {
      variant.setPerTensor(true);
    }
    boolean rounded = variant.getSource().equals("rtn");
    if (variant.getQuantizer().isEmpty()) {
      variant.setQuantizer(rounded ? "rtn" : TRAINED);
    }
    if (!partial.hasSymmetric() && rounded && quantization.hasSymmetric()) {
      variant.setSymmetric(quantization.getSymmetric());
    }
    return variant.build();
  }

  /**
   * The switches of a resolved variant that an export reads. Parts that are left at 16 bits are not
   * mentioned, nor is a symmetric form.
   */
  public static Variant exported(Variant variant) {
    Variant.Builder out = Variant.newBuilder();
    EXPORTED.forEach(field -> out.setField(field, variant.getField(field)));
    for (FieldDescriptor field : LAYOUT) {
      if (variant.hasField(field) && !variant.getField(field).equals(FULL_BITS)) {
        out.setField(field, variant.getField(field));
      }
    }
    if (variant.hasSymmetric() && !variant.getSymmetric()) {
      out.setSymmetric(false);
    }
    return out.build();
  }

  /**
   * The switches of a resolved variant that training reads. Variants with equal ones share the
   * trained model: they differ in their names, or in what is rounded after training.
   */
  public static Variant trained(Variant variant) {
    Variant.Builder out = variant.toBuilder().clearName().clearPreset();
    out.clearSymmetric().clearQuantizer();
    LAYOUT.forEach(out::clearField);
    return out.build();
  }

  /**
   * The variant that {@code variant} differs from only in what is rounded after training: of those
   * among {@code all} that train alike, the first that leaves most bits beside the decoder. Empty
   * where none leaves more bits than the variant itself.
   */
  public static Optional<Variant> sibling(Variant variant, List<Variant> all) {
    return all.stream()
        .filter(other -> trained(other).equals(trained(variant)))
        .filter(other -> layoutBits(other) > layoutBits(variant))
        .reduce((a, b) -> layoutBits(b) > layoutBits(a) ? b : a);
  }

  private static int layoutBits(Variant variant) {
    return LAYOUT.stream().mapToInt(field -> (int) variant.getField(field)).sum();
  }

  /** Whether the variant needs the teacher: to be evaluated, or for its signals. */
  public static boolean needsTeacher(Variant variant) {
    return variant.getSource().equals("teacher") || distils(variant);
  }

  /** Whether the variant is trained on the teacher's signals. */
  public static boolean distils(Variant variant) {
    return !variant.getDistillation().isEmpty() && !variant.getDistillation().equals("none");
  }

  /** Whether the variant is the whole method, with none of its parts left out. */
  public static boolean grace(Variant variant) {
    return variant.getQuantized()
        && variant.getDistillation().equals("dkd")
        && variant.getGate()
        && variant.getRcka()
        && variant.getAdaptiveBeta()
        && !variant.getPerTensor();
  }

  private static Map<String, Variant> catalog() {
    Map<String, Variant> all = new LinkedHashMap<>();
    add(all, "teacher", "teacher", 0, v -> {});
    add(all, "bf16", "baseline", 0, v -> {});
    add(all, "bf16-more-steps", "train", 0, v -> {});
    add(all, "bf16-distilled", "train", 0, Variants::method);
    for (int bits : new int[] {4, 3, 2}) {
      add(all, "rtn-int" + bits, "rtn", bits, v -> {});
    }
    for (int bits : new int[] {4, 2}) {
      add(all, "qat-int" + bits, "train", bits, v -> {});
    }
    for (int bits : new int[] {4, 2}) {
      add(all, "kd-int" + bits, "train", bits, v -> v.setDistillation("kd"));
    }
    add(all, "dkd-int4", "train", 4, v -> method(v).setGate(false));
    add(all, "no-rcka-int4", "train", 4, v -> method(v).setRcka(false));
    add(all, "fixed-beta-int4", "train", 4, v -> method(v).setAdaptiveBeta(false));
    add(all, "per-tensor-int4", "train", 4, v -> method(v).setPerTensor(true));
    for (int bits : new int[] {8, 4, 3, 2}) {
      add(all, "grace-int" + bits, "train", bits, Variants::method);
    }
    add(all, "rtn-int4-all8", "rtn", 4, v -> all8(v));
    add(all, "grace-int4-head8", "train", 4, v -> method(v).setHeadBits(8));
    add(all, "grace-int4-head4", "train", 4, v -> method(v).setHeadBits(4));
    add(all, "grace-int4-vision8", "train", 4, v -> method(v).setVisionBits(8));
    add(all, "grace-int4-kv8", "train", 4, v -> method(v).setKvBits(8));
    add(all, "grace-int4-all8", "train", 4, v -> all8(method(v)));
    return all;
  }

  private static void add(
      Map<String, Variant> all,
      String name,
      String source,
      int bits,
      Consumer<Variant.Builder> switches) {
    Variant.Builder variant =
        PLAIN.toBuilder().setName(name).setSource(source).setQuantized(bits > 0).setBits(bits);
    switches.accept(variant);
    all.put(name, variant.build());
  }

  private static Variant.Builder method(Variant.Builder variant) {
    return variant.setDistillation("dkd").setGate(true).setRcka(true).setAdaptiveBeta(true);
  }

  private static Variant.Builder all8(Variant.Builder variant) {
    return variant.setHeadBits(8).setVisionBits(8).setProjectorBits(8).setKvBits(8);
  }
}
