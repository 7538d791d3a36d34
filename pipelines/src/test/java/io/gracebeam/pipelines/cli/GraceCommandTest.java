package io.gracebeam.pipelines.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

class GraceCommandTest {
  private final StringWriter err = new StringWriter();
  private final StringWriter out = new StringWriter();

  private int run(String... args) {
    CommandLine line = GraceCommand.commandLine();
    line.setErr(new PrintWriter(err, true));
    line.setOut(new PrintWriter(out, true));
    return line.execute(args);
  }

  @Test
  void unknownOptionIsTheUsersAndOneLine() {
    assertThat(run("demo", "--nonsense")).isEqualTo(2);
    assertThat(err.toString().strip().lines()).hasSize(1);
  }

  @Test
  void independentSeedsOfOtherSettingsAreTheUsers() {
    assertThat(run("demo", "--independent", "--start", "pom.xml")).isEqualTo(2);
    assertThat(err.toString()).contains("teacher_per_seed and student_per_seed there");
    assertThat(err.toString().strip().lines()).hasSize(1);
  }

  @Test
  void missingRecipeIsTheUsersAndWithoutStackTrace() {
    assertThat(run("run", "no-such-recipe.yaml")).isEqualTo(2);
    assertThat(err.toString()).contains("no-such-recipe.yaml").doesNotContain("\tat ");
    assertThat(err.toString().strip().lines()).hasSize(1);
  }

  @Test
  void memoryOfAPublishedModel() {
    assertThat(run("plan", "--shape", "qwen2-vl-2b", "--positions", "4096")).isZero();
    List<String> lines = out.toString().strip().lines().toList();
    assertThat(lines).hasSize(6);
    assertThat(lines.get(0)).startsWith("memory in MB, 4096 positions");
    assertThat(lines.get(1)).startsWith("16 bit ").endsWith("+0 %");
    assertThat(lines.get(2)).startsWith("decoder INT4 ");
    assertThat(lines.get(5)).startsWith("+ keys and values INT8 ").contains("  -");
  }

  @Test
  void memoryForMachines() throws Exception {
    assertThat(run("plan", "--shape", "llava-1.5-7b", "--bits", "3", "--json")).isZero();
    JsonNode rows = new ObjectMapper().readTree(out.toString());
    assertThat(rows).hasSize(5);
    for (JsonNode row : rows) {
      assertThat(row.path("peak").asLong())
          .isPositive()
          .isEqualTo(
              row.path("weights").asLong()
                  + row.path("cache").asLong()
                  + row.path("scratch").asLong());
      assertThat(row.path("positions").asInt()).isEqualTo(2048);
    }
    assertThat(rows.get(1).path("layout").asText()).isEqualTo("decoder INT3");
  }

  @Test
  void memoryOfNothingOrOfTwoThingsIsTheUsers() {
    assertThat(run("plan")).isEqualTo(2);
    assertThat(run("plan", "recipe.yaml", "--shape", "qwen2-vl-2b")).isEqualTo(2);
    assertThat(run("plan", "--shape", "gpt")).isEqualTo(2);
    assertThat(run("plan", "--shape", "qwen2-vl-2b", "--bits", "5")).isEqualTo(2);
    assertThat(run("plan", "--shape", "qwen2-vl-2b", "--group-size", "100")).isEqualTo(2);
    assertThat(run("plan", "--shape", "qwen2-vl-2b", "--positions", "0")).isEqualTo(2);
    assertThat(run("plan", "--model", "no-such-folder")).isEqualTo(3);
    assertThat(err.toString().strip().lines()).hasSize(7);
  }

  @Test
  void reportOfNoRunIsTheUsers() {
    assertThat(run("report", "no-such-run")).isEqualTo(2);
  }

  @Test
  void errorsOfTheVirtualMachineAreOneLineToo() {
    assertThat(failing(new OutOfMemoryError("Java heap space"))).isEqualTo(5);
    assertThat(failing(new NoClassDefFoundError("Could not initialize class X"))).isEqualTo(1);
    assertThat(err.toString().strip().lines())
        .hasSize(2)
        .first()
        .asString()
        .contains("out of memory", "Java heap space", "GRACE_HEAP");
    assertThat(err.toString()).contains("Could not initialize class X (a bug:");
  }

  private int failing(Error error) {
    CommandLine line = GraceCommand.commandLine();
    line.addSubcommand("fail", new Failing(error));
    line.setErr(new PrintWriter(err, true));
    return line.execute("fail");
  }

  @CommandLine.Command
  private record Failing(Error error) implements Runnable {
    @Override
    public void run() {
      throw error;
    }
  }

  @Test
  void doctorNamesWhatItComputesWith() throws Exception {
    assertThat(run("doctor", "--json", "--threads", "1", "--compute", "float32")).isZero();
    JsonNode facts = new ObjectMapper().readTree(out.toString());
    assertThat(facts.path("engine").asText())
        .matches("LibTorch \\d+\\.\\d+\\.\\d+ \\([^)]+\\) cpu float32, 1 thread, .*")
        .contains("kernels:");
    assertThat(facts.path("instructions").asText()).isNotEmpty();
    assertThat(facts.path("engineDigest").asText()).hasSize(64);
  }

  @Test
  void doctorAndAskRefuseWhatNoEngineTakes() {
    assertThat(run("doctor", "--device", "cuda:100")).isEqualTo(2);
    assertThat(run("doctor", "--threads", "1025")).isEqualTo(2);
    assertThat(run("doctor", "--compute", "int8")).isEqualTo(2);
    assertThat(run("ask", "--model", ".", "--image", "pom.xml", "--threads", "-1", "why"))
        .isEqualTo(2);
    assertThat(run("ask", "--model", ".", "--image", "pom.xml", "--device", "gpu", "why"))
        .isEqualTo(2);
    String[] elsewhere = {
      "ask", "--model", ".", "--image", "pom.xml", "--workers", "h:1", "--threads", "0", "why"
    };
    assertThat(run(elsewhere)).isEqualTo(2);
    assertThat(err.toString()).contains("--threads is given beside --workers");
    assertThat(err.toString().strip().lines())
        .hasSize(6)
        .allMatch(line -> line.contains("allowed: "));
    assertThat(out.toString()).isEmpty();
  }
}
