package io.gracebeam.proto.error;

import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.util.Optional;
import java.util.concurrent.CancellationException;

/**
 * The one meaning of each gRPC code.
 *
 * <table>
 * <caption>Codes, who acts, what a client does</caption>
 * <tr><th>code</th><th>meaning</th><th>category</th><th>action</th></tr>
 * <tr><td>UNAVAILABLE</td><td>worker unreachable, starting or draining</td><td>worker</td><td>retry</td></tr>
 * <tr><td>RESOURCE_EXHAUSTED</td><td>worker is full for now</td><td>worker</td><td>retry</td></tr>
 * <tr><td>DEADLINE_EXCEEDED</td><td>the call took too long</td><td>worker</td><td>retry</td></tr>
 * <tr><td>INVALID_ARGUMENT</td><td>this record is bad</td><td>data</td><td>dead letter</td></tr>
 * <tr><td>ABORTED</td><td>the worker gave up the work</td><td>worker</td><td>fail the bundle</td></tr>
 * <tr><td>CANCELLED</td><td>somebody canceled the work</td><td>worker</td><td>fail the bundle</td></tr>
 * <tr><td>NOT_FOUND</td><td>the worker does not know the operation (any more): submit it again</td><td>worker</td>
 *     <td>fail the bundle</td></tr>
 * <tr><td>INTERNAL, UNKNOWN</td><td>the worker or the transport failed unexpectedly</td><td>bug</td>
 *     <td>fail the bundle</td></tr>
 * <tr><td>FAILED_PRECONDITION</td><td>the recipe asks for something impossible</td><td>user</td><td>fail the run</td></tr>
 * <tr><td>UNAUTHENTICATED</td><td>credentials are missing or wrong</td><td>user</td><td>fail the run</td></tr>
 * <tr><td>PERMISSION_DENIED</td><td>the worker's machine does not allow it: disk full, not writable, no device, too little memory</td>
 *     <td>environment</td><td>fail the run</td></tr>
 * <tr><td>UNIMPLEMENTED</td><td>worker of another build</td><td>worker</td><td>fail the run</td></tr>
 * <tr><td>ALREADY_EXISTS</td><td>the id is taken by different work</td><td>bug</td><td>fail the run</td></tr>
 * <tr><td>OUT_OF_RANGE</td><td>the unit lies outside the dataset</td><td>bug</td><td>fail the run</td></tr>
 * <tr><td>DATA_LOSS</td><td>alarm: a guarantee is broken</td><td>bug</td><td>fail the run</td></tr>
 * </table>
 *
 * <p>The category also travels in the trailer {@code grace-category}, so that it survives where
 * several share a code.
 */
public final class Statuses {
  private static final Metadata.Key<String> CATEGORY =
      Metadata.Key.of("grace-category", Metadata.ASCII_STRING_MARSHALLER);

  /** What a client does about a code. */
  public enum Action {
    /** Call again after a pause. */
    RETRY,
    /** Send the record to the dead letters and go on. */
    BAD_RECORD,
    /** Let the runner repeat the bundle. */
    FAIL_BUNDLE,
    /** Stop: repeating cannot help. */
    FAIL_RUN
  }

  private Statuses() {}

  /**
   * What a client does about {@code code}.
   *
   * @throws GraceException (bug) for OK, which is no error
   */
  public static Action of(Status.Code code) {
    return switch (code) {
      case UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED -> Action.RETRY;
      case INVALID_ARGUMENT -> Action.BAD_RECORD;
      case ABORTED, CANCELLED, NOT_FOUND, INTERNAL, UNKNOWN -> Action.FAIL_BUNDLE;
      case FAILED_PRECONDITION,
          UNAUTHENTICATED,
          PERMISSION_DENIED,
          UNIMPLEMENTED,
          ALREADY_EXISTS,
          OUT_OF_RANGE,
          DATA_LOSS ->
          Action.FAIL_RUN;
      case OK -> throw GraceException.bug("status OK: is no error; allowed: every other gRPC code");
    };
  }

  /**
   * The status that tells a client about {@code error}: a {@link GraceException}'s category decides
   * the code, statuses stay as they are, cancellation is CANCELLED, lack of memory is the
   * environment's, and everything else is INTERNAL with the class's name.
   */
  public static StatusRuntimeException toStatus(Throwable error) {
    if (error instanceof StatusRuntimeException status) {
      return status;
    }
    if (error instanceof StatusException status) {
      return new StatusRuntimeException(status.getStatus(), status.getTrailers());
    }
    if (error instanceof GraceException grace) {
      return status(codeOf(grace.category()), grace.category(), grace.getMessage(), grace);
    }
    if (error instanceof CancellationException) {
      return status(Status.Code.CANCELLED, Category.WORKER, "the work was canceled", error);
    }
    if (error instanceof OutOfMemoryError memory) {
      return toStatus(GraceException.outOfMemory(memory));
    }
    String message = "unexpected " + error.getClass().getSimpleName() + ": " + error.getMessage();
    return status(Status.Code.INTERNAL, Category.BUG, message, error);
  }

  /**
   * The error that {@code status} tells of; its category comes from the trailer, or else from the
   * code.
   */
  public static GraceException fromStatus(StatusRuntimeException status) {
    Category category =
        Optional.ofNullable(status.getTrailers())
            .map(trailers -> trailers.get(CATEGORY))
            .flatMap(Category::ofWireName)
            .orElseGet(() -> categoryOf(status.getStatus().getCode()));
    String description = status.getStatus().getDescription();
    String message =
        description == null || description.isBlank()
            ? "worker: call failed with " + status.getStatus().getCode()
            : description;
    return new GraceException(category, message).withCause(status);
  }

  /** The code that carries an error of {@code category}. */
  public static Status.Code codeOf(Category category) {
    return switch (category) {
      case USER -> Status.Code.FAILED_PRECONDITION;
      case DATA -> Status.Code.INVALID_ARGUMENT;
      case WORKER -> Status.Code.ABORTED;
      case ENVIRONMENT -> Status.Code.PERMISSION_DENIED;
      case BUG -> Status.Code.DATA_LOSS;
    };
  }

  /** Who acts on a code that came without the trailer. */
  public static Category categoryOf(Status.Code code) {
    return switch (code) {
      case INVALID_ARGUMENT -> Category.DATA;
      case FAILED_PRECONDITION, UNAUTHENTICATED -> Category.USER;
      case PERMISSION_DENIED -> Category.ENVIRONMENT;
      case UNAVAILABLE,
          RESOURCE_EXHAUSTED,
          DEADLINE_EXCEEDED,
          ABORTED,
          CANCELLED,
          NOT_FOUND,
          UNIMPLEMENTED ->
          Category.WORKER;
      case OK, INTERNAL, UNKNOWN, ALREADY_EXISTS, OUT_OF_RANGE, DATA_LOSS -> Category.BUG;
    };
  }

  private static StatusRuntimeException status(
      Status.Code code, Category category, String message, Throwable cause) {
    Metadata trailers = new Metadata();
    trailers.put(CATEGORY, category.wireName());
    String line = new GraceException(category, message).getMessage();
    return new StatusRuntimeException(
        Status.fromCode(code).withDescription(line).withCause(cause), trailers);
  }
}
