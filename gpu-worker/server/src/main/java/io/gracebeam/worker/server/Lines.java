package io.gracebeam.worker.server;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.error.Statuses;
import io.grpc.StatusRuntimeException;

/** Turns whatever was thrown into a category and one line. */
public final class Lines {
  private static final int LONGEST = 2000;

  private Lines() {}

  /**
   * The category of an error. What is not a {@link GraceException} is a bug, except lack of memory.
   * An error of a class's initializer counts as if it had been thrown directly.
   */
  public static GraceException classify(Throwable error) {
    if (error instanceof GraceException known) {
      return known;
    }
    if (error instanceof StatusRuntimeException status) {
      return Statuses.fromStatus(status);
    }
    if (error instanceof OutOfMemoryError memory) {
      return GraceException.outOfMemory(memory);
    }
    if (error instanceof ExceptionInInitializerError && error.getCause() != null) {
      return classify(error.getCause());
    }
    String message = error.getMessage();
    String name = error.getClass().getSimpleName();
    return GraceException.bug("%s", message == null ? name : name + ": " + oneLine(message))
        .withCause(error);
  }

  /** First line of a text, without control characters, of bounded length. */
  static String oneLine(String text) {
    if (text == null) {
      return "";
    }
    String first = text.strip().lines().findFirst().orElse("");
    String clean = first.replaceAll("\\p{Cntrl}", " ");
    return clean.length() <= LONGEST ? clean : clean.substring(0, LONGEST) + "...";
  }
}
