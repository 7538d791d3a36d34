package io.gracebeam.worker.server.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import org.junit.jupiter.api.Test;

/** Contestants played by shell scripts. */
class DecodeRunnerTest {
  private static DecodeRunner runner(String script) {
    return new DecodeRunner(
        "peer",
        () ->
            new ProcessBuilder("sh", "-c", script)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start());
  }

  @Test
  void keepsTheBestOfTheRoundsAndTheMostMemory() throws IOException {
    String script =
        "echo about the peer; echo noise; echo bytes 100 20;"
            + "read a; echo seconds 3.0 0.5 finite resident 700 peak 900;"
            + "read a; echo seconds 2.0 0.8 finite resident 800 peak 850; read a";
    try (DecodeRunner r = runner(script)) {
      r.start();
      r.start();
      r.round();
      r.round();
      assertThat(r.about()).isEqualTo("the peer");
      assertThat(r.figures()).isEqualTo(new DecodeRunner.Figures(100, 20, 2.0, 0.5, 800, 900));
    }
  }

  @Test
  void startsAgainAfterItsTurnAndKeepsItsFigures() throws IOException {
    String script =
        "echo bytes 1 2; read a; echo seconds 3.0 0.5 finite resident $$ peak 9; read a";
    try (DecodeRunner r = runner(script)) {
      r.start();
      r.round();
      long first = r.figures().resident();
      r.close();
      r.start();
      r.round();
      assertThat(r.figures().resident()).isGreaterThanOrEqualTo(first);
      assertThat(r.figures().decode()).isEqualTo(0.5);
    }
  }

  @Test
  void saysWhyItLeftOut() throws IOException {
    try (DecodeRunner r = runner("echo left out no room on the disk; exit 3")) {
      assertThatThrownBy(r::start)
          .isInstanceOf(GraceException.class)
          .hasMessage("no room on the disk");
    }
  }

  @Test
  void namesAContestantThatEndsEarly() throws IOException {
    try (DecodeRunner r = runner("echo bytes 1 2; read a; kill -4 $$")) {
      r.start();
      assertThatThrownBy(r::round)
          .isInstanceOf(GraceException.class)
          .hasMessage("peer ended without a figure (status 132); is the memory enough?");
    }
  }

  @Test
  void refusesBrokenLogits() throws IOException {
    String script = "echo bytes 1 2; read a; echo seconds 3.0 0.5 broken resident 1 peak 1; read a";
    try (DecodeRunner r = runner(script)) {
      r.start();
      assertThatThrownBy(r::round).hasMessageContaining("peer: the logits are not finite");
      assertThat(r.figures().decode()).isInfinite();
    }
  }

  @Test
  void refusesALineThatIsNoFigure() throws IOException {
    try (DecodeRunner r = runner("echo bytes many 2; read a")) {
      assertThatThrownBy(r::start)
          .isInstanceOf(GraceException.class)
          .hasMessage("peer said 'bytes many 2'");
    }
  }
}
