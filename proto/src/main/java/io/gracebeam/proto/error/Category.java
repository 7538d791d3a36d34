package io.gracebeam.proto.error;

import java.util.Locale;
import java.util.Optional;

/** Who has to act on an error; decides the exit code of the command. */
public enum Category {
  /** The recipe or the command line asks for something that is not allowed. */
  USER(2),
  /** A file among the inputs is missing, damaged or contradicts another. */
  DATA(3),
  /** A worker is unreachable, of another build, or gave up. */
  WORKER(4),
  /** The machine does not allow it: disk full, folder not writable, device absent, no memory. */
  ENVIRONMENT(5),
  /** The program itself is wrong; nobody else can act. */
  BUG(1);

  private final int exitCode;

  Category(int exitCode) {
    this.exitCode = exitCode;
  }

  /** Exit code of the process, 1 to 5. */
  public int exitCode() {
    return exitCode;
  }

  /** Name on the wire, for instance {@code "user"}: {@code Operation.error_category}. */
  public String wireName() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The category of a {@link #wireName()}, or empty for any other text. */
  public static Optional<Category> ofWireName(String name) {
    for (Category category : values()) {
      if (category.wireName().equals(name)) {
        return Optional.of(category);
      }
    }
    return Optional.empty();
  }
}
