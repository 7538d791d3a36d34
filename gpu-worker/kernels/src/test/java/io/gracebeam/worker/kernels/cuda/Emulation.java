package io.gracebeam.worker.kernels.cuda;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Path;

/** The CUDA kernels as {@code build-cuda --emulated} made them for the processor. */
final class Emulation {
  private static final CudaLibrary LIBRARY = load();

  private Emulation() {}

  /** Skips the test where the build found no C++ compiler. */
  static CudaLibrary library() {
    assumeTrue(
        LIBRARY != null, "the CUDA kernels are not emulated here: the build found no C++ compiler");
    return LIBRARY;
  }

  /** As {@link #library}, with threads that run in another order; 0 is ascending. */
  static CudaLibrary library(int order) {
    CudaLibrary library = library();
    library.run("emulated_order", order);
    return library;
  }

  private static CudaLibrary load() {
    URL file = Emulation.class.getResource("/native/libgrace_cuda_emulated.so");
    try {
      return file == null ? null : CudaLibrary.open(Path.of(file.toURI()));
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }
}
