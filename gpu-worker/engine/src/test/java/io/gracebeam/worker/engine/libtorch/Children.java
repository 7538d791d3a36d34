package io.gracebeam.worker.engine.libtorch;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Runs a class of the tests in a process of its own, with this one's class path. */
public final class Children {
  /** What a process left. */
  public record Result(int status, String output) {}

  private Children() {}

  /** Runs to the end and checks that it ended well; its output. */
  static String run(List<String> options, String main, String... arguments)
      throws IOException, InterruptedException {
    Result result = start(options, Map.of(), main, arguments);
    assertThat(result.status()).as(result.output()).isZero();
    return result.output();
  }

  public static Result start(
      List<String> options, Map<String, String> environment, String main, String... arguments)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + "/bin/java");
    command.add("-Xmx512m");
    command.add("--enable-native-access=ALL-UNNAMED");
    command.add("--add-modules=jdk.incubator.vector");
    command.addAll(options);
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main));
    command.addAll(List.of(arguments));
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(2, TimeUnit.MINUTES)).isTrue();
    return new Result(process.exitValue(), output);
  }
}
