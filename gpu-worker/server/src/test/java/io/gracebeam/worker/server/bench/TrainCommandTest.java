package io.gracebeam.worker.server.bench;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The bench of operators with its true contestants; a shell script plays Python. */
class TrainCommandTest {
  private static final String SCRIPT =
      """
      #!/bin/sh
      echo "product $2"
      echo "view $3"
      echo "sum 4"
      test "$4" = cpu
      """;

  @TempDir Path root;
  private final String before = System.getProperty("grace.root");

  @BeforeEach
  void moveRoot() throws Exception {
    System.setProperty("grace.root", root.toString());
    Path python = root.resolve("conformance/.venv/bin/python");
    Files.createDirectories(python.getParent());
    Files.writeString(python, SCRIPT);
    assertThat(python.toFile().setExecutable(true)).isTrue();
  }

  @AfterEach
  void restoreRoot() {
    if (before == null) {
      System.clearProperty("grace.root");
    } else {
      System.setProperty("grace.root", before);
    }
  }

  @Test
  void operatorsOfAllEnginesStandInOneTable() throws Exception {
    Path file = root.resolve("out.json");
    TrainCommand.run(
        new String[] {
          "train",
          "--what",
          "operators",
          "--rounds",
          "1",
          "--threads",
          "1",
          "--json",
          file.toString()
        },
        500);
    JsonNode json = new ObjectMapper().readTree(file.toFile());
    assertThat(json.get("device").asText()).isEqualTo("cpu");
    assertThat(json.get("rows").findValuesAsText("name"))
        .contains("LibTorch view", "PyTorch sum of two numbers", "torch-script view")
        .hasSize(9);
    assertThat(json.get("rows").get(0).get("value").asDouble()).isPositive();
  }
}
