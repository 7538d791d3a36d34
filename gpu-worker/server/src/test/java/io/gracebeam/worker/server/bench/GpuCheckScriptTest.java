package io.gracebeam.worker.server.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code gpu-worker/gpu-check} with a shell script that plays Java. */
class GpuCheckScriptTest {
  private static final Path SCRIPT = Path.of("..", "gpu-check");

  private static final String JAVA =
      """
      #!/bin/sh
      echo "$GRACE_LIBTORCH $*" >>"$CALLS"
      while [ $# -gt 0 ]; do
        case "$1" in
          *.EngineCheck) echo '{}' >"$2"; exit "${ENGINE:-0}" ;;
          --shape) shape=$2 ;;
          --json) echo "{\\"shape\\": \\"$shape\\"}" >"$2" ;;
        esac
        shift
      done
      [ "$shape" != "$BAD" ]
      """;

  private record Result(int status, String output) {}

  @TempDir Path folder;

  @BeforeEach
  void makeJava() throws IOException {
    assumeTrue(Files.isExecutable(Path.of("/bin/bash")), "there is no bash here");
    Files.createDirectories(folder.resolve("pack/lib"));
    Path java = folder.resolve("pack/runtime/bin/java");
    Files.createDirectories(java.getParent());
    Files.writeString(java, JAVA);
    assertThat(java.toFile().setExecutable(true)).isTrue();
  }

  private Result check(Map<String, String> environment, String... arguments)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of("/bin/bash", SCRIPT.toString()));
    command.addAll(List.of(arguments));
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().remove("JAVA_HOME");
    builder.environment().put("GRACE_PACK", folder.resolve("pack").toString());
    builder.environment().put("GRACE_PYTHON", "/bin/false");
    builder.environment().put("GRACE_LIBTORCH", "/torch/lib");
    builder.environment().put("CALLS", folder.resolve("calls").toString());
    builder.environment().putAll(environment);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    return new Result(process.waitFor(), output);
  }

  @Test
  void partsHaveAFileEach() throws Exception {
    Result result = check(Map.of(), folder.resolve("gpu.json").toString(), "cpu");
    assertThat(result.status()).as(result.output()).isZero();
    assertThat(result.output()).contains("kernels: left out, the device is cpu");
    assertThat(folder.resolve("gpu-engine.json")).exists();
    JsonNode train = new ObjectMapper().readTree(folder.resolve("gpu-train.json").toFile());
    assertThat(train.get("tables").findValuesAsText("shape"))
        .containsExactly("student", "qwen2-vl-2b");
    assertThat(Files.readAllLines(folder.resolve("calls")))
        .hasSize(3)
        .allMatch(line -> line.startsWith("/torch/lib ") && line.contains(" cpu"));
  }

  @Test
  void cudaIsTheDefaultAndAllPartsAreTried() throws Exception {
    Result result =
        check(
            Map.of("GRACE_PARTS", "engine train", "ENGINE", "1", "BAD", "student"),
            folder.resolve("gpu.json").toString());
    assertThat(result.status()).isEqualTo(1);
    assertThat(result.output()).contains("gpu-check: these parts failed: engine train");
    assertThat(Files.readString(folder.resolve("calls")))
        .contains("gpu-engine.json cuda:0", "--what steps --device cuda:0");
    // What could be measured is there.
    JsonNode train = new ObjectMapper().readTree(folder.resolve("gpu-train.json").toFile());
    assertThat(train.get("tables").findValuesAsText("shape")).containsExactly("qwen2-vl-2b");
  }

  @Test
  void whatIsMissingIsNamed() throws Exception {
    String out = folder.resolve("gpu.json").toString();
    assertThat(check(Map.of("GRACE_LIBTORCH", "", "GRACE_PARTS", "engine"), out, "cpu").output())
        .contains("python3 has no torch", "GRACE_PYTHON");
    assertThat(check(Map.of("GRACE_PACK", "/nonexistent", "GRACE_PARTS", "train"), out).output())
        .contains("no jars in /nonexistent/lib", "gpu-pack");
    Result part = check(Map.of("GRACE_PARTS", "speed"), out);
    assertThat(part.status()).isEqualTo(2);
    assertThat(part.output()).contains("GRACE_PARTS has 'speed'; allowed: kernels, engine, train");
    assertThat(check(Map.of()).output()).contains("usage: gpu-check OUTPUT.json [DEVICE]");
  }
}
