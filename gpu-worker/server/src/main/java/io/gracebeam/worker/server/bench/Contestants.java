package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.engine.libtorch.LibTorchEngine;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Processes that take part in a benchmark. */
final class Contestants {
  /** Environment variable: the Python that runs our scripts, in place of conformance's own. */
  static final String PYTHON = "GRACE_PYTHON";

  private static final String ENVIRONMENT = ".venv";

  /** How a process is started. */
  @FunctionalInterface
  interface Command {
    Process start() throws IOException;
  }

  private Contestants() {}

  /** The engine of a contestant whose first arguments are its name, compute, threads and device. */
  static EngineHandle engine(String[] args) {
    return Engines.open(
        EngineSettings.newBuilder()
            .setName(args[0])
            .setCompute(args[1])
            .setThreads(Integer.parseInt(args[2]))
            .setDevice(args[3])
            .build());
  }

  /** A class of this program in a JVM like this one. */
  static List<String> java(Class<?> main, String... arguments) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(List.of(arguments));
    return command;
  }

  /**
   * A script of {@code conformance/}; empty where its environment was not set up and GRACE_PYTHON
   * does not name another.
   */
  static List<String> script(String name, String... arguments) {
    String python = System.getenv(PYTHON);
    if (python == null || python.isBlank()) {
      return scriptIn(ENVIRONMENT, name, arguments);
    }
    if (!Files.isExecutable(Path.of(python))) {
      throw GraceException.user("%s names %s; allowed: the path of a Python", PYTHON, python);
    }
    return script(Path.of(python), name, arguments);
  }

  /** A script of {@code conformance/} in one of its environments; empty without that one. */
  static List<String> scriptIn(String environment, String name, String... arguments) {
    Path python = conformance().resolve(environment).resolve("bin/python");
    return Files.isExecutable(python) ? script(python, name, arguments) : List.of();
  }

  private static List<String> script(Path python, String name, String... arguments) {
    List<String> command =
        new ArrayList<>(List.of(python.toString(), conformance().resolve(name).toString()));
    command.addAll(List.of(arguments));
    return command;
  }

  private static Path conformance() {
    return Path.of(System.getProperty("grace.root", "."), "conformance");
  }

  /** Starts a process, whose standard error is to be read with {@link #errors}. */
  static Process start(List<String> command) throws IOException {
    return builder(command).start();
  }

  /**
   * Runs a process to its end.
   *
   * @param name for the line of an error
   * @return what it printed
   * @throws GraceException of the category and with the line that it ended with
   */
  static String output(String name, List<String> command) throws IOException, InterruptedException {
    return output(name, builder(command));
  }

  /**
   * As {@link #output}, with an allocator that returns each larger block to the system at once, so
   * that memory can be measured.
   */
  static String outputReturning(String name, List<String> command)
      throws IOException, InterruptedException {
    ProcessBuilder builder = builder(command);
    builder.environment().put("MALLOC_MMAP_THRESHOLD_", "65536");
    builder.environment().put("MALLOC_TRIM_THRESHOLD_", "0");
    return output(name, builder);
  }

  private static ProcessBuilder builder(List<String> command) {
    ProcessBuilder builder = new ProcessBuilder(command);
    LibTorchEngine.settings().forEach(builder.environment()::putIfAbsent);
    return builder;
  }

  private static String output(String name, ProcessBuilder builder)
      throws IOException, InterruptedException {
    Process process = builder.start();
    CompletableFuture<List<String>> errors = errors(process);
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    int status = process.waitFor();
    if (status != 0) {
      throw Ending.of(name, status, errors.join());
    }
    errors.join().forEach(System.err::println);
    return out;
  }

  /** Lines of a process's standard error, once it has closed it. */
  static CompletableFuture<List<String>> errors(Process process) {
    CompletableFuture<List<String>> lines = new CompletableFuture<>();
    Thread.ofVirtual().start(() -> lines.complete(process.errorReader().lines().toList()));
    return lines;
  }

  /**
   * Starts another project's program: without the allocator's settings that {@code grace} makes.
   */
  static Process startForeign(List<String> command) throws IOException {
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
    builder.environment().keySet().removeIf(name -> name.startsWith("MALLOC_"));
    return builder.start();
  }
}
