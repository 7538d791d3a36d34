package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.training.TrainBench;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * {@code grace bench train}: times a full GRACE training step of this engine, of DJL's PyTorch
 * engine and of a plain PyTorch script, what quantisation adds to it, and what an operator costs.
 * The contestants take turns, round after round; the figure of each is the least of its rounds'
 * medians, which other work on the machine disturbs least.
 */
final class TrainCommand {
  static final String USAGE =
      "grace bench train [--shape student|qwen2-vl-2b] [--what all|steps|qat-overhead|checkpoints|operators] [--rounds N] [--steps N]"
          + " [--threads N] [--json FILE]";
  private static final String BASE = "libtorch-bfloat16";

  private record Contestant(String name, String engine, String compute, boolean quantized) {}

  /** Engines whose overhead of quantisation is measured, with the compute type of each. */
  private static final Map<String, String> OVERHEAD =
      new TreeMap<>(Map.of("LibTorch", "bfloat16", "PyTorch", "float32"));

  private static final String OPERATORS = "200000"; // of a run

  /** Two models of the larger shape, with their optimisers. */
  private static final String[] LARGE_HEAP = {"-Xmx12g", "-XX:MaxNewSize=1g"};

  private static final long LARGE_KIBIBYTES = 15L << 20;

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
                "--what", "all",
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
    Map<String, List<Double>> ratios = new TreeMap<>();
    Map<String, Double> memory = new TreeMap<>();
    Map<String, Double> micros = new TreeMap<>();
    String what =
        options.oneOf("--what", "all", "steps", "qat-overhead", "checkpoints", "operators");
    for (int round = 0; round < rounds; round++) {
      if (what.equals("all") || what.equals("steps")) {
        steps(best, shape, threads, steps);
      }
      if (what.equals("all") || what.equals("qat-overhead")) {
        overhead(ratios, shape, threads, steps);
      }
      if (what.equals("checkpoints")) {
        checkpoints(memory, best, shape, threads);
      }
      if (what.equals("all") || what.equals("operators")) {
        operators(micros, threads);
      }
      System.err.printf(Locale.ROOT, "round %d of %d done%n", round + 1, rounds);
    }
    BenchTable table = new BenchTable("train", Map.of("shape", shape, "threads", threads));
    String base = best.containsKey(BASE) ? BASE : best.keySet().stream().findFirst().orElse(BASE);
    best.forEach(
        (name, seconds) -> table.add(name, seconds, "s/step", base, seconds / best.get(base)));
    memory.forEach((name, bytes) -> table.add(name + ", peak extra memory", bytes / 1e9, "GB"));
    ratios.forEach((name, all) -> table.add(name, 100 * (median(all) - 1), "%"));
    micros.forEach((name, value) -> table.add(name, value, "us/operator"));
    notes(table, what, best, ratios);
    table.report(options.text("--json"));
  }

  private static void notes(
      BenchTable table, String what, Map<String, Double> best, Map<String, List<Double>> ratios) {
    boolean all = what.equals("all");
    if (all || what.equals("qat-overhead")) {
      table.note(
          ratios.isEmpty()
              ? "qat-overhead: not measured; it needs 15 GiB of free memory"
              : "qat-overhead: over the step without quantisation, of %d micro-batches; pairs of steps in one process"
                  .formatted(OverheadContestant.MICRO_BATCHES));
    }
    if ((all || what.equals("steps"))
        && best.keySet().stream().noneMatch(name -> name.startsWith("torch-script"))) {
      table.note("torch-script: not measured; conformance/setup makes its environment");
    }
    if (what.equals("checkpoints")) {
      table.note(
          "checkpoints: gradients of all examples in one micro-batch, without the optimiser; memory that native blocks keep is counted");
    }
  }

  /** Time of an operator on one number. */
  private static void operators(Map<String, Double> micros, String threads)
      throws IOException, InterruptedException {
    for (String engine : OVERHEAD.keySet()) {
      operators(
          micros,
          engine,
          Contestants.java(OperatorContestant.class, engine, "float32", threads, OPERATORS));
    }
    List<String> script = Contestants.script("bench_operators.py", threads, OPERATORS);
    if (!script.isEmpty()) {
      operators(micros, "torch-script", script);
    }
  }

  private static void operators(Map<String, Double> micros, String who, List<String> command)
      throws IOException, InterruptedException {
    String output = output(Contestants.start(command));
    for (String operator : List.of("view", "product", "sum")) {
      String name = who + " " + operator + (operator.equals("view") ? "" : " of two numbers");
      micros.merge(name, figure(output, name, operator + " "), Math::min);
    }
  }

  /** Time and memory of the gradients with and without block checkpoints. */
  private static void checkpoints(
      Map<String, Double> memory, Map<String, Double> best, String shape, String threads)
      throws IOException, InterruptedException {
    for (Map.Entry<String, String> engine : OVERHEAD.entrySet()) {
      for (boolean on : new boolean[] {false, true}) {
        String name = engine.getKey() + " " + engine.getValue() + (on ? " with checkpoints" : "");
        List<String> command =
            Contestants.java(
                CheckpointContestant.class,
                engine.getKey(),
                engine.getValue(),
                threads,
                shape,
                Boolean.toString(on));
        String output = output(Contestants.startReturning(command));
        best.merge(name, figure(output, name, "seconds "), Math::min);
        memory.merge(name, figure(output, name, "peakBytes "), Math::max);
      }
    }
  }

  private static void steps(Map<String, Double> best, String shape, String threads, String steps)
      throws IOException, InterruptedException {
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
  }

  private static void overhead(
      Map<String, List<Double>> ratios, String shape, String threads, String steps)
      throws IOException, InterruptedException {
    boolean large = shape.equals(TrainBench.qwen2Vl2b().name());
    if (large
        && DecodeMemory.kibibytes(Path.of("/proc/meminfo"), "MemAvailable") < LARGE_KIBIBYTES) {
      return;
    }
    for (Map.Entry<String, String> engine : OVERHEAD.entrySet()) {
      String name = engine.getKey() + " " + engine.getValue();
      List<String> command =
          Contestants.java(
              OverheadContestant.class, engine.getKey(), engine.getValue(), threads, shape, steps);
      if (large) {
        command.addAll(command.indexOf("-cp"), List.of(LARGE_HEAP));
      }
      ratios
          .computeIfAbsent("qat-overhead " + name, n -> new ArrayList<>())
          .add(figure(output(Contestants.start(command)), name, "ratio "));
    }
  }

  private static double median(List<Double> values) {
    return values.stream().sorted().skip(values.size() / 2).findFirst().orElseThrow();
  }

  private static void keep(Map<String, Double> best, String name, List<String> command)
      throws IOException, InterruptedException {
    best.merge(name, figure(output(Contestants.start(command)), name, "seconds "), Math::min);
  }

  private static String output(Process process) throws IOException, InterruptedException {
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    int status = process.waitFor();
    return status == 0 ? out : out + "\nended with status " + status;
  }

  private static double figure(String output, String name, String key) {
    return output
        .lines()
        .filter(line -> line.startsWith(key))
        .mapToDouble(line -> Double.parseDouble(line.substring(key.length())))
        .findFirst()
        .orElseThrow(
            () ->
                GraceException.worker(
                    "%s gave no figure: %s", name, output.lines().reduce("", (a, b) -> b)));
  }
}
