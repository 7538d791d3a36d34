package io.gracebeam.worker.engine.libtorch;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class ProcessorTest {
  private static Processor of(String vendor, int leaf, String flags) {
    return Processor.parse(
        "processor\t: 0\nvendor_id\t: %s\ncpuid level\t: %d\nflags\t\t: %s\n\nprocessor\t: 1\n"
            .formatted(vendor, leaf, flags));
  }

  @Test
  void usesTilesThatCanBeRead() {
    Processor p =
        of("GenuineIntel", 0x20, "avx2 avx512bw avx512_bf16 avx512_fp16 amx_tile amx_bf16");
    assertThat(p.instructions()).isEqualTo("AVX512_CORE_AMX");
    assertThat(p.settings()).isEmpty();
    assertThat(p.bfloat16()).isTrue();
  }

  @Test
  void avoidsTilesWhoseSizesTheVirtualMachineHides() {
    Processor p =
        of("GenuineIntel", 0x1C, "avx2 avx512bw avx512_bf16 avx512_fp16 amx_tile amx_bf16");
    assertThat(p.settings()).containsEntry("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16").hasSize(1);
    assertThat(p.bfloat16()).isTrue();
  }

  @Test
  void tellsOpenBlasThatAmdHasAvx512() {
    Processor p = of("AuthenticAMD", 0x10, "avx2 avx512f avx512bw avx512_vnni avx512_bf16");
    assertThat(p.settings()).containsEntry("OPENBLAS_CORETYPE", "SkylakeX").hasSize(1);
    assertThat(p.instructions()).isEqualTo("AVX512_CORE_BF16");
  }

  @Test
  void oldAndUnknownProcessors() {
    assertThat(of("GenuineIntel", 0xD, "avx2 fma").instructions()).isEqualTo("AVX2");
    assertThat(of("GenuineIntel", 0xD, "avx2 fma").bfloat16()).isFalse();
    assertThat(Processor.parse("").instructions()).isEqualTo("SSE41");
    assertThat(Processor.parse("").settings()).isEmpty();
  }
}
