package io.gracebeam.proto.error;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Statuses.Action;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ErrorsTest {
  @Test
  void exitCodesAreDistinctAndFixed() {
    assertThat(Category.values()).extracting(Category::exitCode).containsExactly(2, 3, 4, 5, 1);
  }

  @Test
  void messageIsOneLine() {
    assertThat(GraceException.user("a\n%s\tend", "b\r\nc")).hasMessage("a b c end");
    assertThat(GraceException.data("100% \u2028 literal")).hasMessage("100%   literal");
  }

  @Test
  void causeKeepsMessageAndCategory() {
    Exception cause = new IllegalStateException("why");
    GraceException error = GraceException.environment("what").withCause(cause);
    assertThat(error).hasMessage("what").hasCause(cause);
    assertThat(error.category()).isEqualTo(Category.ENVIRONMENT);
    assertThat(error.withCause(null)).isSameAs(error);
  }

  @ParameterizedTest
  @EnumSource
  void categoryAndMessageSurviveTheWire(Category category) {
    StatusRuntimeException status = Statuses.toStatus(new GraceException(category, "what: 'x'"));
    assertThat(status.getStatus().getCode()).isEqualTo(Statuses.codeOf(category));
    GraceException back = Statuses.fromStatus(status);
    assertThat(back.category()).isEqualTo(category);
    assertThat(back).hasMessage("what: 'x'").hasCause(status);
    assertThat(Statuses.categoryOf(Statuses.codeOf(category))).isEqualTo(category);
  }

  @ParameterizedTest
  @EnumSource(value = Status.Code.class, mode = EnumSource.Mode.EXCLUDE, names = "OK")
  void everyCodeHasAnActionAndAMessage(Status.Code code) {
    assertThat(Statuses.of(code)).isNotNull();
    GraceException error = Statuses.fromStatus(new StatusRuntimeException(code.toStatus()));
    assertThat(error.getMessage()).contains(code.name());
  }

  @Test
  void actionsFollowTheTable() {
    assertThat(Statuses.of(Status.Code.UNAVAILABLE)).isEqualTo(Action.RETRY);
    assertThat(Statuses.of(Statuses.codeOf(Category.DATA))).isEqualTo(Action.BAD_RECORD);
    assertThat(Statuses.of(Statuses.codeOf(Category.WORKER))).isEqualTo(Action.FAIL_BUNDLE);
    assertThat(Statuses.of(Statuses.codeOf(Category.USER))).isEqualTo(Action.FAIL_RUN);
    assertThat(Statuses.of(Statuses.codeOf(Category.ENVIRONMENT))).isEqualTo(Action.FAIL_RUN);
    assertThat(Statuses.of(Statuses.codeOf(Category.BUG))).isEqualTo(Action.FAIL_RUN);
    assertThatThrownBy(() -> Statuses.of(Status.Code.OK)).isInstanceOf(GraceException.class);
  }

  @Test
  void otherThrowables() {
    StatusRuntimeException known = new StatusRuntimeException(Status.UNAVAILABLE, new Metadata());
    assertThat(Statuses.toStatus(known)).isSameAs(known);
    assertThat(Statuses.toStatus(new NullPointerException("x")).getStatus().getDescription())
        .isEqualTo("unexpected NullPointerException: x");
  }

  @Test
  void lackOfMemoryIsTheEnvironmentsAndSaysWhere() {
    Status status = Statuses.toStatus(new OutOfMemoryError("Java heap space")).getStatus();
    assertThat(status.getCode()).isEqualTo(Status.Code.PERMISSION_DENIED);
    assertThat(status.getDescription())
        .startsWith(
            "out of memory in ErrorsTest.lackOfMemoryIsTheEnvironmentsAndSaysWhere (Java heap space)")
        .contains("allowed: smaller batches");
    OutOfMemoryError early = new OutOfMemoryError("Java heap space");
    early.setStackTrace(new StackTraceElement[0]);
    GraceException error = GraceException.outOfMemory(early);
    assertThat(error).hasMessageStartingWith("out of memory (Java heap space)").hasCause(early);
    assertThat(error.category()).isEqualTo(Category.ENVIRONMENT);
  }
}
