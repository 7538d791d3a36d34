package io.gracebeam.worker.kernels;

import java.util.Locale;
import java.util.function.Supplier;

/**
 * Chooses the kernels once per process: the native ones where the build made them and the processor
 * has at least AVX2, else those on the Vector API, else plain Java, or what the user asks for.
 */
public final class KernelProvider {
  /**
   * System property that decides: {@code scalar}, {@code vector}, {@code native}, or absent to
   * choose by what is there.
   */
  public static final String PROPERTY = "grace.kernels";

  private static final String MODULE = "jdk.incubator.vector";

  private KernelProvider() {}

  record Choice(Kernels kernels, String why) {}

  private static final class Holder {
    static final Supplier<Choice> CHOICE = decide();
    static final Kernels ORACLE = new ScalarKernels();

    /**
     * Keeps the error of a wrong property, so that every caller gets its one line and not only the
     * first one, as the failure of an initializer.
     */
    private static Supplier<Choice> decide() {
      try {
        Choice choice = choose(System.getProperty(PROPERTY));
        return () -> choice;
      } catch (IllegalArgumentException e) {
        return () -> {
          throw new IllegalArgumentException(e.getMessage(), e);
        };
      }
    }
  }

  /**
   * Bounds the threads of this process's kernels, unless {@code grace.kernels.threads} does; to be
   * called before {@link #best}. No result depends on their number.
   */
  public static void threads(int n) {
    if (System.getProperty(Parallel.THREADS) == null) {
      System.setProperty(Parallel.THREADS, Integer.toString(n));
    }
  }

  /**
   * The kernels of this process.
   *
   * @throws IllegalArgumentException if the property holds something else than scalar, vector or
   *     native, or asks for what is not there
   */
  public static Kernels best() {
    return Holder.CHOICE.get().kernels();
  }

  /** The oracle: slow kernels in plain loops. */
  public static Kernels oracle() {
    return Holder.ORACLE;
  }

  /** One line: what was chosen and why. */
  public static String explain() {
    return Holder.CHOICE.get().why();
  }

  static Choice choose(String wish) {
    String asked = wish == null ? "" : wish.trim().toLowerCase(Locale.ROOT);
    return switch (asked) {
      case "scalar" -> new Choice(new ScalarKernels(), "scalar kernels: " + PROPERTY + "=scalar");
      case "vector" -> {
        if (!vectorPresent()) {
          throw Checks.error(
              PROPERTY, "is vector but the JVM lacks it, allowed with --add-modules %s", MODULE);
        }
        yield vector(PROPERTY + "=vector");
      }
      case "native" -> {
        try {
          yield nativeKernels(NativeLibrary.load(), PROPERTY + "=native");
        } catch (UnsupportedOperationException e) {
          throw Checks.error(PROPERTY, "is native, but %s", e.getMessage());
        }
      }
      case "" -> best(vectorPresent());
      default ->
          throw Checks.error(PROPERTY, "is '%s', allowed are scalar, vector and native", wish);
    };
  }

  private static Choice best(boolean vectors) {
    String reason;
    try {
      NativeLibrary library = NativeLibrary.load();
      if (library.bestIsa() > 0) {
        return nativeKernels(library, "the build made them");
      }
      reason = "the processor lacks AVX2";
    } catch (UnsupportedOperationException e) {
      reason = e.getMessage();
    }
    return vectors
        ? vector(reason)
        : new Choice(
            new ScalarKernels(),
            "scalar kernels: %s, and the JVM was started without --add-modules %s"
                .formatted(reason, MODULE));
  }

  private static boolean vectorPresent() {
    return ModuleLayer.boot().findModule(MODULE).isPresent();
  }

  private static Choice nativeKernels(NativeLibrary library, String why) {
    Kernels rest = vectorPresent() ? new VectorKernels(Parallel.shared()) : new ScalarKernels();
    NativeKernels k =
        new NativeKernels(library, library.bestIsa(), Parallel.defaultThreads(), rest.products());
    return new Choice(k, "native kernels: " + why + ", " + k.describe());
  }

  private static Choice vector(String why) {
    VectorKernels k = new VectorKernels(Parallel.shared());
    return new Choice(k, "vector kernels: " + why + ", " + k.describe());
  }
}
