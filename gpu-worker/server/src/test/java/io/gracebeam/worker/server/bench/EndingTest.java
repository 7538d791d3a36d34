package io.gracebeam.worker.server.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.engine.EngineException;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the bench and its processes say when they fail, and their exit codes. */
class EndingTest {
  private record Result(int status, List<String> errors) {}

  @TempDir Path folder;

  private Result run(Class<?> main, Map<String, String> environment, String... arguments)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + "/bin/java");
    command.addAll(List.of("-Xmx512m", "--enable-native-access=ALL-UNNAMED"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(List.of(arguments));
    Path errors = folder.resolve("errors");
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .redirectError(errors.toFile());
    builder.environment().putAll(environment);
    int status = builder.start().waitFor();
    return new Result(
        status,
        Files.readAllLines(errors, StandardCharsets.UTF_8).stream()
            .filter(line -> !line.startsWith("SLF4J"))
            .toList());
  }

  /** A contestant that fails in the way that its argument names. */
  static final class Failing {
    public static void main(String[] args) {
      Ending.run(
          () -> {
            switch (args[0]) {
              case "engine" -> throw new EngineException("LibTorch: mm failed\n  at frame 0");
              case "state" -> throw new IllegalStateException("array x was closed");
              case "memory" -> throw new OutOfMemoryError("Java heap space");
              case "initializer" ->
                  throw new ExceptionInInitializerError(GraceException.data("no file"));
              case "operator" -> throw new UnsupportedOperationException("no kernels here");
              default -> throw new IOException("disk");
            }
          });
    }
  }

  @Test
  void whateverIsThrownIsOneLine() throws Exception {
    assertThat(run(Failing.class, Map.of(), "engine"))
        .isEqualTo(new Result(1, List.of("grace bench: EngineException: LibTorch: mm failed")));
    assertThat(run(Failing.class, Map.of(), "state"))
        .isEqualTo(
            new Result(1, List.of("grace bench: IllegalStateException: array x was closed")));
    assertThat(run(Failing.class, Map.of(), "initializer"))
        .isEqualTo(new Result(3, List.of("grace bench: no file")));
    assertThat(run(Failing.class, Map.of(), "operator"))
        .isEqualTo(new Result(5, List.of("grace bench: no kernels here")));
    Result memory = run(Failing.class, Map.of(), "memory");
    assertThat(memory.status()).isEqualTo(5);
    assertThat(memory.errors()).hasSize(1);
    assertThat(memory.errors().getFirst()).contains("out of memory", "Java heap space");
  }

  @Test
  void contestantsEndWithTheirCategory() throws Exception {
    Result noLibrary =
        run(
            OperatorContestant.class,
            Map.of("GRACE_LIBTORCH", "/nonexistent"),
            "LibTorch",
            "float32",
            "1",
            "cpu",
            "10");
    assertThat(noLibrary.status()).isEqualTo(5);
    assertThat(noLibrary.errors()).hasSize(1);
    assertThat(noLibrary.errors().getFirst())
        .startsWith("grace bench: GRACE_LIBTORCH names /nonexistent")
        .contains("allowed:");
    Result noDevice =
        run(
            TrainContestant.class,
            Map.of(),
            "LibTorch",
            "float32",
            "1",
            "cuda:77",
            "student",
            "true",
            "true",
            "1");
    assertThat(noDevice.status()).isEqualTo(5);
    assertThat(noDevice.errors()).hasSize(1);
    assertThat(noDevice.errors().getFirst()).contains("allowed: cpu");
  }

  @Test
  void theBenchEndsAsItsContestantDid() throws Exception {
    Result noLibrary =
        run(
            BenchMain.class,
            Map.of("GRACE_LIBTORCH", "/nonexistent"),
            "train",
            "--what",
            "operators");
    assertThat(noLibrary.status()).isEqualTo(5);
    assertThat(noLibrary.errors()).hasSize(1);
    assertThat(noLibrary.errors().getFirst())
        .startsWith("grace bench: LibTorch: GRACE_LIBTORCH names /nonexistent")
        .contains("allowed:");
    Result threads =
        run(BenchMain.class, Map.of(), "train", "--what", "steps", "--threads", "5000");
    assertThat(threads.status()).isEqualTo(2);
    assertThat(threads.errors()).hasSize(1);
    assertThat(threads.errors().getFirst())
        .startsWith("grace bench: libtorch-bfloat16: ")
        .contains("5000", "1024");
    Result loss = run(BenchMain.class, Map.of(), "loss", "--threads", "5000");
    assertThat(loss.status()).isEqualTo(2);
    assertThat(loss.errors()).hasSize(1);
  }

  @Test
  void optionsAreRefusedBeforeAnythingStarts() throws Exception {
    Result device = run(BenchMain.class, Map.of(), "train", "--device", "gpu");
    assertThat(device.status()).isEqualTo(2);
    assertThat(device.errors())
        .containsExactly("grace bench: --device is 'gpu'; allowed: cpu, cuda:N");
    Result folder = run(BenchMain.class, Map.of(), "loss", "--json", "/nonexistent/loss.json");
    assertThat(folder.status()).isEqualTo(2);
    assertThat(folder.errors())
        .containsExactly(
            "grace bench: --json is '/nonexistent/loss.json'; allowed: a file in a folder that there is");
    Result memory =
        run(BenchMain.class, Map.of(), "train", "--what", "checkpoints", "--device", "cuda:0");
    assertThat(memory.status()).isEqualTo(2);
    assertThat(memory.errors().getFirst()).contains("not measured", "allowed: --device cpu");
  }

  @Test
  void aScriptsLastLineIsPassedOn() {
    assertThatThrownBy(
            () ->
                Contestants.output(
                    "script",
                    List.of(
                        "sh",
                        "-c",
                        "echo Traceback >&2; echo 'ImportError: no torch' >&2; exit 1")))
        .isInstanceOf(GraceException.class)
        .hasMessage("script ended without a figure (status 1): ImportError: no torch")
        .extracting(e -> ((GraceException) e).category())
        .isEqualTo(Category.WORKER);
    assertThatThrownBy(() -> Contestants.output("script", List.of("sh", "-c", "kill -9 $$")))
        .hasMessage("script ended without a figure (status 137); is the memory enough?");
  }

  @Test
  void whatAProcessPrintsIsItsOutput() throws Exception {
    assertThat(Contestants.output("script", List.of("sh", "-c", "echo a; echo b >&2; echo c")))
        .isEqualTo("a\nc\n");
  }
}
