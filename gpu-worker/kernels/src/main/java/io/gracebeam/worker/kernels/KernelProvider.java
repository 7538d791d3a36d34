package io.gracebeam.worker.kernels;

import java.util.Locale;
import java.util.function.Supplier;

/**
 * Chooses the kernels once per process: the Vector API ones where the JVM has them, or what the
 * user asks for.
 */
public final class KernelProvider {
  /**
   * System property that decides: {@code scalar}, {@code vector}, or absent to choose by what the
   * JVM has.
   */
  public static final String PROPERTY = "grace.kernels";

  private static final String MODULE = "jdk.incubator.vector";

  private KernelProvider() {}

  record Choice(Kernels kernels, String why) {}

  private static final class Holder {
    static final Supplier<Choice> CHOICE = decide();
    static final Kernels ORACLE = new ScalarKernels();

    /**
     * A wrong property must reach every caller as the one-line error, not once as an initialiser's
     * failure.
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
   * The kernels of this process.
   *
   * @throws IllegalArgumentException if the property holds something else than scalar or vector, or
   *     asks for vector in a JVM without the module
   */
  public static Kernels best() {
    return Holder.CHOICE.get().kernels();
  }

  /** The slow, obviously right kernels. */
  public static Kernels oracle() {
    return Holder.ORACLE;
  }

  /** One line: what was chosen and why. */
  public static String explain() {
    return Holder.CHOICE.get().why();
  }

  static Choice choose(String wish) {
    boolean present = ModuleLayer.boot().findModule(MODULE).isPresent();
    String asked = wish == null ? "" : wish.trim().toLowerCase(Locale.ROOT);
    return switch (asked) {
      case "scalar" -> new Choice(new ScalarKernels(), "scalar kernels: " + PROPERTY + "=scalar");
      case "vector" -> {
        if (!present) {
          throw Checks.error(
              PROPERTY, "is vector but the JVM lacks it, allowed with --add-modules %s", MODULE);
        }
        yield vector(PROPERTY + "=vector");
      }
      case "" ->
          present
              ? vector("module " + MODULE + " is present")
              : new Choice(
                  new ScalarKernels(),
                  "scalar kernels: the JVM was started without --add-modules " + MODULE);
      default -> throw Checks.error(PROPERTY, "is '%s', allowed are scalar and vector", wish);
    };
  }

  private static Choice vector(String why) {
    VectorKernels k = new VectorKernels(Parallel.shared());
    return new Choice(k, "vector kernels: " + why + ", " + k.describe());
  }
}
