package io.gracebeam.pipelines.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

class GraceCommandTest {
  private final StringWriter err = new StringWriter();

  private int run(String... args) {
    CommandLine line = GraceCommand.commandLine();
    line.setErr(new PrintWriter(err, true));
    return line.execute(args);
  }

  @Test
  void unknownOptionIsTheUsersAndOneLine() {
    assertThat(run("demo", "--nonsense")).isEqualTo(2);
    assertThat(err.toString().strip().lines()).hasSize(1);
  }

  @Test
  void missingRecipeIsTheUsersAndWithoutStackTrace() {
    assertThat(run("run", "no-such-recipe.yaml")).isEqualTo(2);
    assertThat(err.toString()).contains("no-such-recipe.yaml").doesNotContain("\tat ");
    assertThat(err.toString().strip().lines()).hasSize(1);
  }

  @Test
  void reportOfNoRunIsTheUsers() {
    assertThat(run("report", "no-such-run")).isEqualTo(2);
  }
}
