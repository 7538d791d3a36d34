package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.engine.libtorch.LibTorchEngine;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Processes that take part in a benchmark. */
final class Contestants {
  /** How a process is started. */
  @FunctionalInterface
  interface Command {
    Process start() throws IOException;
  }

  private Contestants() {}

  /** The engine of a contestant whose first arguments are its name, compute type and threads. */
  static EngineHandle engine(String[] args) {
    return Engines.open(
        EngineSettings.newBuilder()
            .setName(args[0])
            .setCompute(args[1])
            .setThreads(Integer.parseInt(args[2]))
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

  /** A script of {@code conformance/}; empty where its environment was not set up. */
  static List<String> script(String name, String... arguments) {
    return scriptIn(".venv", name, arguments);
  }

  /** A script of {@code conformance/} in one of its environments; empty without that one. */
  static List<String> scriptIn(String environment, String name, String... arguments) {
    Path root = Path.of(System.getProperty("grace.root", "."), "conformance");
    Path python = root.resolve(environment).resolve("bin/python");
    if (!Files.isExecutable(python)) {
      return List.of();
    }
    List<String> command =
        new ArrayList<>(List.of(python.toString(), root.resolve(name).toString()));
    command.addAll(List.of(arguments));
    return command;
  }

  static Process start(List<String> command) throws IOException {
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
    LibTorchEngine.settings().forEach(builder.environment()::putIfAbsent);
    return builder.start();
  }

  /** The same with an allocator that returns each larger block at once, to measure memory. */
  static Process startReturning(List<String> command) throws IOException {
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
    LibTorchEngine.settings().forEach(builder.environment()::putIfAbsent);
    builder.environment().put("MALLOC_MMAP_THRESHOLD_", "65536");
    builder.environment().put("MALLOC_TRIM_THRESHOLD_", "0");
    return builder.start();
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
