package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.grpc.Status;
import org.junit.jupiter.api.Test;

class LinesTest {
  @Test
  void categoriesOfWhatWasThrown() {
    GraceException known = GraceException.data("a file");
    assertThat(Lines.classify(known)).isSameAs(known);
    assertThat(Lines.classify(new ExceptionInInitializerError(known))).isSameAs(known);
    assertThat(Lines.classify(Status.PERMISSION_DENIED.asRuntimeException()).category())
        .isEqualTo(Category.ENVIRONMENT);
    assertThat(Lines.classify(new OutOfMemoryError("Java heap space")).category())
        .isEqualTo(Category.ENVIRONMENT);
    assertThat(Lines.classify(new IllegalStateException("closed")))
        .hasMessage("IllegalStateException: closed")
        .extracting(GraceException::category)
        .isEqualTo(Category.BUG);
    assertThat(Lines.classify(new ExceptionInInitializerError("no cause")))
        .hasMessage("ExceptionInInitializerError: no cause");
  }

  @Test
  void onlyTheFirstLineOfATextAndNoControlCharacters() {
    assertThat(Lines.oneLine("\n a\tb \r\n\tat c")).isEqualTo("a b ");
    assertThat(Lines.oneLine(null)).isEmpty();
  }
}
