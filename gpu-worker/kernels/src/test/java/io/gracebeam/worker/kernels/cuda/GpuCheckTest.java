package io.gracebeam.worker.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.worker.kernels.DecoderShape;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What gpu-check runs on a GPU, under emulation. */
class GpuCheckTest {
  @Test
  void everyCheckPassesAndIsReported() {
    CudaLibrary library = Emulation.library(3);
    Report report = new Report();
    try (LibraryDevice device = new LibraryDevice(library)) {
      GpuCheck.checks(library, device, report, 1, new Random().nextLong());
      assertThat(report.json(device.name(), null))
          .contains("\"device\": \"emulated\"", "\"failures\": []", "check attention");
    }
    assertThat(report.good()).isTrue();
  }

  @Test
  void benchesRunAtAnySize() {
    CudaLibrary library = Emulation.library();
    Report report = new Report();
    DecoderShape shape = new DecoderShape(1, 128, 2, 1, 64, 128, 40, 1e-5f);
    try (LibraryDevice device = new LibraryDevice(library);
        CudaBench bench = new CudaBench(library, device, report)) {
      assertThat(bench.copies(1 << 16)).isPositive();
      double wide = bench.decode("tiny", shape, new CudaBench.Layout(16, 16, 16), 2, 9, null);
      assertThat(wide).isPositive();
      bench.decode("tiny", shape, new CudaBench.Layout(4, 8, 8), 2, 9, wide);
    }
    assertThat(report.json("x\"y\n", "{}")).contains("tokens/s", "x\\\"y\\u000a", "16 bits");
  }

  @Test
  void aLibraryThatCannotBeUsedIsNamed(@TempDir Path folder) {
    assertThatThrownBy(() -> CudaLibrary.open(folder.resolve("no.so")))
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessageContaining("there is no file")
        .hasMessageContaining("no.so");
    CudaLibrary library = Emulation.library();
    assertThat(library.onDevice()).isFalse();
    assertThatThrownBy(() -> library.call("gkc_of_another_version"))
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessage("the CUDA kernels lack gkc_of_another_version");
    assertThatThrownBy(
            () -> library.checked("gkc_reserve", 0L, java.lang.foreign.MemorySegment.NULL))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("gkc_reserve")
        .hasMessageContaining("null or not aligned");
  }
}
