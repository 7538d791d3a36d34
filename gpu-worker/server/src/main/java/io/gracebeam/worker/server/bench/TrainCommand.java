package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * {@code grace bench train}: times a full GRACE training step of this engine, of DJL's PyTorch
 * engine and of a plain PyTorch script. The contestants take turns, round after round; the figure
 * of each is the least of its rounds' medians, which other work on the machine disturbs least.
 */
final class TrainCommand {
  static final String USAGE =
      "grace bench train [--shape student|qwen2-vl-2b] [--rounds N] [--steps N] [--threads N] [--json FILE]";
  private static final String BASE = "libtorch-bfloat16";

  private record Contestant(String name, String engine, String compute, boolean quantized) {}

  private static final List<Contestant> OWN =
      List.of(
          new Contestant(BASE, "LibTorch", "bfloat16", true),
          new Contestant("libtorch-bfloat16-unquantised", "LibTorch", "bfloat16", false),
          new Contestant("libtorch-float32", "LibTorch", "float32", true),
          new Contestant("djl-pytorch-float32", "PyTorch", "float32", true));

  private TrainCommand() {}

  static void run(String[] args) throws IOException, InterruptedException {
    BenchOptions options =
        new BenchOptions(
            USAGE,
            Map.of(
                "--shape", "student",
                "--rounds", "3",
                "--steps", "5",
                "--threads", BenchOptions.processors(),
                "--json", ""),
            args);
    String shape = TrainContestant.shape(options.text("--shape")).name();
    String threads = Integer.toString(options.positive("--threads"));
    String steps = Integer.toString(options.positive("--steps"));
    int rounds = options.positive("--rounds");
    Map<String, Double> best = new LinkedHashMap<>();
    for (int round = 0; round < rounds; round++) {
      for (Contestant c : OWN) {
        keep(
            best,
            c.name(),
            Contestants.java(
                TrainContestant.class,
                c.engine(),
                c.compute(),
                threads,
                shape,
                Boolean.toString(c.quantized()),
                "true",
                steps));
      }
      for (String compute : List.of("bfloat16", "float32")) {
        List<String> command = Contestants.script("bench_train.py", shape, compute, threads, steps);
        if (!command.isEmpty()) {
          keep(best, "torch-script-" + compute, command);
        }
      }
      System.err.printf(Locale.ROOT, "round %d of %d done%n", round + 1, rounds);
    }
    BenchTable table = new BenchTable("train", Map.of("shape", shape, "threads", threads));
    double base = best.get(BASE);
    best.forEach((name, seconds) -> table.add(name, seconds, "s/step", BASE, seconds / base));
    if (best.keySet().stream().noneMatch(name -> name.startsWith("torch-script"))) {
      table.note("torch-script: not measured; conformance/setup makes its environment");
    }
    table.report(options.text("--json"));
  }

  private static void keep(Map<String, Double> best, String name, List<String> command)
      throws IOException, InterruptedException {
    Process process = Contestants.start(command);
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    int status = process.waitFor();
    double seconds =
        output
            .lines()
            .filter(line -> line.startsWith("seconds "))
            .mapToDouble(line -> Double.parseDouble(line.substring("seconds ".length())))
            .findFirst()
            .orElseThrow(
                () -> GraceException.worker("%s ended with status %d and no figure", name, status));
    best.merge(name, seconds, Math::min);
  }
}
