package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.server.Lines;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * How a process of the bench ends on an error: with one line on standard error and the exit code of
 * the error's category. What a contestant ended with is what the bench ends with.
 */
final class Ending {
  private static final String PREFIX = "grace bench: ";

  /** What a process does. */
  @FunctionalInterface
  interface Body {
    void run() throws Exception;
  }

  private Ending() {}

  /** Runs what a main method does; an error ends the process. */
  static void run(Body body) {
    try {
      body.run();
    } catch (Exception | Error e) { // a class's initializer and lack of memory are Errors
      GraceException error = error(e);
      System.err.println(PREFIX + error.getMessage());
      System.exit(error.category().exitCode());
    }
  }

  /** The category and the line of whatever was thrown. */
  static GraceException error(Throwable e) {
    if (e instanceof UnsupportedOperationException) {
      return GraceException.environment("%s", String.valueOf(e.getMessage())).withCause(e);
    }
    return Lines.classify(e);
  }

  /**
   * The error that another process of ours, or a script, ended with.
   *
   * @param name of the process, for the line
   * @param status that it exited with
   * @param errors lines of its standard error
   */
  static GraceException of(String name, int status, List<String> errors) {
    String last = errors.stream().filter(line -> !line.isBlank()).reduce("", (a, b) -> b);
    Optional<Category> category =
        Arrays.stream(Category.values()).filter(c -> c.exitCode() == status).findFirst();
    if (last.startsWith(PREFIX) && category.isPresent()) {
      return new GraceException(category.get(), name + ": " + last.substring(PREFIX.length()));
    }
    return GraceException.worker(
        "%s ended without a figure (status %d)%s",
        name, status, last.isEmpty() ? "; is the memory enough?" : ": " + last.strip());
  }
}
