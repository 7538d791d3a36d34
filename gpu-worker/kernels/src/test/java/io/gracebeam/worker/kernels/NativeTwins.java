package io.gracebeam.worker.kernels;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.assertj.core.api.Assertions;
import org.junit.jupiter.api.Assumptions;

/** The native kernels with every instruction set that this machine has and 1 to 3 threads. */
final class NativeTwins {
  private static final List<NativeKernels> ALL = make();

  private NativeTwins() {}

  private static List<NativeKernels> make() {
    List<NativeKernels> out = new ArrayList<>();
    try {
      NativeLibrary library = NativeLibrary.load();
      for (int isa = 0; isa <= library.bestIsa(); isa++) {
        out.add(new NativeKernels(library, isa, 1 + isa % 3, new ScalarProducts()));
      }
      for (int threads = 1; threads <= 3; threads++) {
        out.add(new NativeKernels(library, library.bestIsa(), threads, new ScalarProducts()));
      }
    } catch (UnsupportedOperationException e) {
      System.err.println("without native kernels: " + e.getMessage());
    }
    return out;
  }

  /** All of them; the test is skipped where there are none. */
  static List<NativeKernels> all() {
    Assumptions.assumeFalse(ALL.isEmpty(), "without native kernels");
    return ALL;
  }

  /** What all of them give, after checking that it is the same, bit by bit. */
  static <T> T same(Function<NativeKernels, T> body) {
    T first = null;
    for (NativeKernels k : all()) {
      T found = body.apply(k);
      if (first == null) {
        first = found;
      } else {
        equal(k, found, first);
      }
    }
    return first;
  }

  /** Checks that each of them gives this, bit by bit. */
  static <T> void give(T expected, Function<NativeKernels, T> body) {
    for (NativeKernels k : all()) {
      equal(k, body.apply(k), expected);
    }
  }

  /** Arrays are compared by their elements, NaN being equal to itself. */
  private static void equal(NativeKernels k, Object found, Object expected) {
    Assertions.assertThat(found).as(k.describe()).isEqualTo(expected);
  }
}
