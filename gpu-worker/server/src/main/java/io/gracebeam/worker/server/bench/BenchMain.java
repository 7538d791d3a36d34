package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;

/** {@code grace bench}: chooses the benchmark; ends with the exit code of an error's category. */
public final class BenchMain {
  private static final String USAGE =
      String.join(
          "\n", TrainCommand.USAGE, LossCommand.USAGE, KernelsCommand.USAGE, DecodeCommand.USAGE);

  private BenchMain() {}

  /** Arguments: train, loss, kernels or decode, and its options. */
  public static void main(String[] args) {
    Ending.run(() -> run(args));
  }

  private static void run(String[] args) throws IOException, InterruptedException {
    switch (args.length == 0 ? "" : args[0]) {
      case "train" -> TrainCommand.run(args);
      case "loss" -> LossCommand.run(args);
      case "kernels" -> KernelsCommand.run(args);
      case "decode" -> DecodeCommand.run(args);
      default -> throw GraceException.user("usage:\n%s", USAGE);
    }
  }
}
