package io.gracebeam.pipelines.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Real processes: settings that cannot be had are one line on the terminal, and who acts. */
@Timeout(120)
class BadSettingsTest {
  private static final String GRACE = "io.gracebeam.pipelines.cli.GraceCommand";
  private static final String WORKER = "io.gracebeam.worker.server.WorkerMain";
  private static final int USER = 2;
  private static final int ENVIRONMENT = 5;

  @TempDir Path folder;

  @BeforeEach
  void modelAndImageOfAsk() throws IOException {
    Files.createDirectories(folder.resolve("model"));
    Files.writeString(folder.resolve("model/config.json"), "{}");
    Files.writeString(folder.resolve("image.png"), "not one");
  }

  @ParameterizedTest
  @ValueSource(strings = {"worker", "doctor", "ask"})
  void missingLibtorchIsTheEnvironments(String command) throws Exception {
    refused(command, "/nonexistent", ENVIRONMENT, "/nonexistent", "libtorch_cpu.so");
  }

  @ParameterizedTest
  @ValueSource(strings = {"worker", "doctor", "ask"})
  void libtorchThatIsNoneIsTheEnvironments(String command) throws Exception {
    Files.writeString(folder.resolve("libtorch_cpu.so"), "not a library\n");
    refused(command, folder.toString(), ENVIRONMENT, folder.toString(), "no shared library");
  }

  @ParameterizedTest
  @ValueSource(strings = {"worker", "doctor", "ask"})
  void absentGpuIsTheEnvironments(String command) throws Exception {
    assumeFalse(Files.exists(Path.of("/dev/nvidia0")));
    refused(command, "", ENVIRONMENT, "--device", "cuda:0", "CUDA device", "allowed: cpu");
  }

  @ParameterizedTest
  @ValueSource(strings = {"worker", "doctor", "ask"})
  void threadsOutOfRangeAreTheUsers(String command) throws Exception {
    for (String bad : List.of("-1", "abc", "5000")) {
      refused(command, "", USER, "--threads", bad, "--threads", "'" + bad + "'");
    }
  }

  @Test
  void threadsAreThoseOfEngineAndKernels() throws Exception {
    Ended doctor = run("doctor", "", List.of("--threads", "1"));
    assertThat(doctor.code).as(doctor.err).isZero();
    assertThat(doctor.out).contains(" 1 thread, ").doesNotContain("2 thread");
    assertThat(doctor.out).containsPattern("scalar kernels|, 1 thread[(]s[)]");
  }

  /** Runs a command with options and checks its code and its only line, which has two texts. */
  private void refused(String command, String libtorch, int code, String... optionsAndTexts)
      throws IOException, InterruptedException {
    int texts = optionsAndTexts.length - 2;
    Ended ended = run(command, libtorch, List.of(optionsAndTexts).subList(0, texts));
    assertThat(ended.err.lines()).as(ended.err).hasSize(1);
    assertThat(ended.err).startsWith("grace").contains(optionsAndTexts[texts]);
    assertThat(ended.err).contains(optionsAndTexts[texts + 1]).doesNotContain("\tat ");
    assertThat(ended.code).as(ended.err).isEqualTo(code);
    assertThat(ended.out).doesNotContain("\tat ");
  }

  private record Ended(int code, String out, String err) {}

  private Ended run(String command, String libtorch, List<String> options)
      throws IOException, InterruptedException {
    List<String> line = new ArrayList<>();
    line.add(System.getProperty("java.home") + "/bin/java");
    line.add("--enable-native-access=ALL-UNNAMED");
    line.add("--sun-misc-unsafe-memory-access=allow");
    line.addAll(List.of("-cp", System.getProperty("java.class.path")));
    line.add(command.equals("worker") ? WORKER : GRACE);
    if (!command.equals("worker")) {
      line.add(command);
    }
    line.addAll(options);
    if (command.equals("ask")) {
      line.addAll(List.of("--model", folder.resolve("model").toString()));
      line.addAll(List.of("--image", folder.resolve("image.png").toString(), "what is this ?"));
    }
    Path out = folder.resolve("out");
    Path err = folder.resolve("err");
    ProcessBuilder builder =
        new ProcessBuilder(line).redirectOutput(out.toFile()).redirectError(err.toFile());
    builder.environment().put("GRACE_LIBTORCH", libtorch);
    Process process = builder.start();
    try {
      assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
    } finally {
      process.destroyForcibly();
    }
    return new Ended(
        process.exitValue(),
        Files.readString(out, StandardCharsets.UTF_8),
        Files.readString(err, StandardCharsets.UTF_8).strip());
  }
}
