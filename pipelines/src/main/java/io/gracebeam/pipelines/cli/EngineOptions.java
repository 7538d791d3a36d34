package io.gracebeam.pipelines.cli;

import io.gracebeam.proto.recipe.EngineChecks;
import io.gracebeam.proto.v1.EngineSettings;
import java.util.stream.Stream;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParseResult;

/** The engine of a command that has no recipe. */
final class EngineOptions {
  @Option(names = "--engine", description = "LibTorch (default) or PyTorch.")
  String engine = "LibTorch";

  @Option(
      names = "--compute",
      description = "Compute type: auto (what is fast here; default), float32, bfloat16.")
  String compute = "auto";

  @Option(names = "--device", description = "cpu (default) or cuda:N.")
  String device = "cpu";

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "Threads of the engine, up to 1024; 0 (default) for all cores.")
  int threads;

  /** The first of these options that the command line gives; null without one. */
  static String given(ParseResult line) {
    return Stream.of("--engine", "--compute", "--device", "--threads")
        .filter(line::hasMatchedOption)
        .findFirst()
        .orElse(null);
  }

  /**
   * What was asked for.
   *
   * @throws io.gracebeam.proto.error.GraceException (user) if it is out of range
   */
  EngineSettings settings() {
    return EngineChecks.requireOptions(
        EngineSettings.newBuilder()
            .setName(engine)
            .setCompute(compute)
            .setDevice(device)
            .setThreads(threads)
            .build());
  }
}
