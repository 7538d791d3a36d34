package io.gracebeam.pipelines.cli;

import io.gracebeam.proto.v1.EngineSettings;
import picocli.CommandLine.Option;

/** The engine of a command that has no recipe. */
final class EngineOptions {
  @Option(names = "--engine", description = "LibTorch (default) or PyTorch.")
  String engine = "LibTorch";

  @Option(
      names = "--compute",
      description = "Compute type: auto (what is fast here; default), float32, bfloat16.")
  String compute = "auto";

  /** Those of this machine's processor. */
  EngineSettings settings() {
    return EngineSettings.newBuilder().setName(engine).setCompute(compute).setDevice("cpu").build();
  }
}
