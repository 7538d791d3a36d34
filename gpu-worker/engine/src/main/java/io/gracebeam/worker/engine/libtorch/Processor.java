package io.gracebeam.worker.engine.libtorch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * What the kernel says of the processor, as far as it decides which code libtorch's libraries
 * choose.
 *
 * @param vendor for instance "GenuineIntel"; empty where the kernel does not say
 * @param flags the kernel's names of features
 * @param highestLeaf highest basic CPUID leaf
 */
record Processor(String vendor, Set<String> flags, int highestLeaf) {
  private static final int TILE_LEAF = 0x1D;

  /** This machine's; without features where /proc/cpuinfo cannot be read. */
  static Processor here() {
    try {
      return parse(Files.readString(Path.of("/proc/cpuinfo")));
    } catch (IOException e) {
      return new Processor("", Set.of(), 0);
    }
  }

  /** From the text of /proc/cpuinfo, its first processor. */
  static Processor parse(String cpuinfo) {
    String vendor = "";
    Set<String> flags = Set.of();
    int leaf = 0;
    for (String line : cpuinfo.lines().takeWhile(l -> !l.isBlank()).toList()) {
      int colon = line.indexOf(':');
      String key = colon < 0 ? "" : line.substring(0, colon).strip();
      String value = colon < 0 ? "" : line.substring(colon + 1).strip();
      switch (key) {
        case "vendor_id" -> vendor = value;
        case "flags" -> flags = Set.of(value.split("\\s+"));
        case "cpuid level" -> leaf = value.matches("[0-9]{1,9}") ? Integer.parseInt(value) : 0;
        default -> {}
      }
    }
    return new Processor(vendor, flags, leaf);
  }

  /**
   * Environment variables that any libtorch wants here: OpenBLAS takes new AMD processors for old
   * ones and would halve float32's speed; oneDNN must not use tiles that are hidden.
   */
  Map<String, String> settings() {
    Map<String, String> out = new TreeMap<>();
    if (vendor.equals("AuthenticAMD") && flags.contains("avx512f")) {
      out.put("OPENBLAS_CORETYPE", "SkylakeX");
    }
    if (hidesTiles()) {
      out.put("ONEDNN_MAX_CPU_ISA", instructions());
    }
    return out;
  }

  /**
   * Some virtual machines announce AMX but hide the leaf that describes its tiles; oneDNN then
   * fails, or executes an illegal instruction.
   */
  boolean hidesTiles() {
    return flags.contains("amx_tile") && highestLeaf < TILE_LEAF;
  }

  /** The best instruction set that can be used, by oneDNN's name. */
  String instructions() {
    if (flags.contains("amx_bf16") && !hidesTiles()) {
      return "AVX512_CORE_AMX";
    }
    if (flags.contains("avx512_fp16")) {
      return "AVX512_CORE_FP16";
    }
    if (flags.contains("avx512_bf16")) {
      return "AVX512_CORE_BF16";
    }
    if (flags.contains("avx512_vnni")) {
      return "AVX512_CORE_VNNI";
    }
    if (flags.contains("avx512bw")) {
      return "AVX512_CORE";
    }
    return flags.contains("avx2") ? "AVX2" : "SSE41";
  }

  /** Whether bfloat16 products run on instructions of their own. */
  boolean bfloat16() {
    return flags.contains("avx512_bf16") || flags.contains("amx_bf16") && !hidesTiles();
  }

  @Override
  public String toString() {
    return instructions().toLowerCase(Locale.ROOT);
  }
}
