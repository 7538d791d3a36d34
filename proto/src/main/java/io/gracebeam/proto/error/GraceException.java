package io.gracebeam.proto.error;

import static java.util.Objects.requireNonNull;

import java.util.Arrays;
import java.util.Locale;

/**
 * An error that a person can read: one line that says what, where and what is allowed, and the
 * {@link Category} that says who acts.
 *
 * <p>The factories format as {@link String#format} does (root locale) when arguments are given, and
 * take the text literally when none are. Line breaks and other control characters, also inside
 * arguments, become single spaces.
 */
public final class GraceException extends RuntimeException {
  private static final long serialVersionUID = 1;
  private static final String OURS = "io.gracebeam.";

  private final Category category;

  /** An error with a message of one line. */
  public GraceException(Category category, String message) {
    this(category, message, null);
  }

  private GraceException(Category category, String message, Throwable cause) {
    super(oneLine(message), cause);
    this.category = requireNonNull(category);
  }

  /** Who has to act. */
  public Category category() {
    return category;
  }

  /** This error again, with its cause; a null cause gives this very error. */
  public GraceException withCause(Throwable cause) {
    if (cause == null) {
      return this;
    }
    GraceException copy = new GraceException(category, getMessage(), cause);
    copy.setStackTrace(getStackTrace());
    return copy;
  }

  /** The recipe or the command line is wrong. */
  public static GraceException user(String format, Object... args) {
    return of(Category.USER, format, args);
  }

  /** An input file is missing, damaged or contradicts another. */
  public static GraceException data(String format, Object... args) {
    return of(Category.DATA, format, args);
  }

  /** A worker is unreachable, of another build, or gave up. */
  public static GraceException worker(String format, Object... args) {
    return of(Category.WORKER, format, args);
  }

  /** The machine does not allow it. */
  public static GraceException environment(String format, Object... args) {
    return of(Category.ENVIRONMENT, format, args);
  }

  /**
   * Java's memory did not suffice. Names the first method of this project on the stack, because
   * Java does not say what was being allocated.
   */
  public static GraceException outOfMemory(OutOfMemoryError error) {
    String where =
        Arrays.stream(error.getStackTrace())
            .filter(frame -> frame.getClassName().startsWith(OURS))
            .findFirst()
            .map(
                frame ->
                    " in "
                        + frame.getClassName().substring(frame.getClassName().lastIndexOf('.') + 1)
                        + "."
                        + frame.getMethodName())
            .orElse("");
    return environment(
            "out of memory%s (%s); allowed: smaller batches, or more memory (GRACE_HEAP for Java's"
                + " heap, GRACE_DIRECT beside it)",
            where, error.getMessage())
        .withCause(error);
  }

  /** The program itself is wrong. */
  public static GraceException bug(String format, Object... args) {
    return of(Category.BUG, format, args);
  }

  private static GraceException of(Category category, String format, Object... args) {
    return new GraceException(
        category, args.length == 0 ? format : String.format(Locale.ROOT, format, args));
  }

  private static String oneLine(String message) {
    return requireNonNull(message).replaceAll("[\\p{Cntrl}\\u2028\\u2029]+", " ").strip();
  }
}
