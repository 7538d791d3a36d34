package io.gracebeam.worker.server.bench;

import ai.djl.engine.Engine;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.training.TrainBench;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * {@code grace bench train}: times a full GRACE training step of this engine, of DJL's PyTorch
 * engine and of a plain PyTorch script, what quantization adds to it, and what an operator costs.
 * The contestants take turns, round after round; the figure of each is the least of its rounds'
 * medians, which other work on the machine disturbs least. On a CUDA device DJL's engine is left
 * out, because its natives have no CUDA here, and so is the memory of checkpointing, because it is
 * not the process's there.
 */
final class TrainCommand {
  static final String USAGE =
      "grace bench train [--shape student|qwen2-vl-2b] [--what"
          + " all|steps|qat-overhead|checkpoints|operators] [--rounds N] [--steps N] [--threads N]"
          + " [--device cpu|cuda:N] [--json FILE]";
  private static final String BASE = "libtorch-bfloat16";

  private record Contestant(String name, String engine, String compute, boolean quantized) {}

  private static final String DJL = "PyTorch";
  private static final String CPU = "cpu";

  /** Engines whose overhead of quantization is measured, with the compute type of each. */
  private static final Map<String, String> OVERHEAD =
      new TreeMap<>(Map.of("LibTorch", "bfloat16", DJL, "float32"));

  private static final int OPERATORS = 200_000; // of a run

  /** Two models of the larger shape, with their optimizers. */
  private static final String[] LARGE_HEAP = {"-Xmx12g", "-XX:MaxNewSize=1g"};

  private static final long LARGE_KIBIBYTES = 15L << 20;

  private static final List<Contestant> OWN =
      List.of(
          new Contestant(BASE, "LibTorch", "bfloat16", true),
          new Contestant("libtorch-bfloat16-unquantized", "LibTorch", "bfloat16", false),
          new Contestant("libtorch-float32", "LibTorch", "float32", true),
          new Contestant("djl-pytorch-float32", DJL, "float32", true));

  private final String shape;
  private final String threads;
  private final String steps;
  private final String device;
  private final String operators;
  private final Map<String, Double> best = new LinkedHashMap<>();
  private final Map<String, List<Double>> ratios = new TreeMap<>();
  private final Map<String, Double> memory = new TreeMap<>();
  private final Map<String, Double> micros = new TreeMap<>();

  private TrainCommand(BenchOptions options, int operators) {
    this.operators = Integer.toString(operators);
    shape = TrainContestant.shape(options.text("--shape")).name();
    threads = Integer.toString(options.positive("--threads"));
    steps = Integer.toString(options.positive("--steps"));
    device = options.device("--device");
  }

  static void run(String[] args) throws IOException, InterruptedException {
    run(args, OPERATORS);
  }

  /** Small operators of one run. */
  static void run(String[] args, int operators) throws IOException, InterruptedException {
    BenchOptions options =
        new BenchOptions(
            USAGE,
            Map.of(
                "--shape", "student",
                "--what", "all",
                "--rounds", "3",
                "--steps", "5",
                "--threads", BenchOptions.processors(),
                "--device", CPU,
                "--json", ""),
            args);
    int rounds = options.positive("--rounds");
    String what =
        options.oneOf("--what", "all", "steps", "qat-overhead", "checkpoints", "operators");
    TrainCommand command = new TrainCommand(options, operators);
    command.measure(what, rounds);
    command.table(what).report(options.text("--json"));
  }

  private void measure(String what, int rounds) throws IOException, InterruptedException {
    if (what.equals("checkpoints") && !device.equals(CPU)) {
      throw GraceException.user(
          "--what is 'checkpoints' and --device is '%s', whose memory is not measured; allowed:"
              + " --device cpu",
          device);
    }
    for (int round = 0; round < rounds; round++) {
      if (what.equals("all") || what.equals("steps")) {
        steps();
      }
      if (what.equals("all") || what.equals("qat-overhead")) {
        overhead();
      }
      if (what.equals("checkpoints")) {
        checkpoints();
      }
      if (what.equals("all") || what.equals("operators")) {
        operators();
      }
      System.err.printf(Locale.ROOT, "round %d of %d done%n", round + 1, rounds);
    }
  }

  private BenchTable table(String what) {
    BenchTable table =
        new BenchTable("train", Map.of("shape", shape, "threads", threads, "device", device));
    String base = best.containsKey(BASE) ? BASE : best.keySet().stream().findFirst().orElse(BASE);
    best.forEach(
        (name, seconds) -> table.add(name, seconds, "s/step", base, seconds / best.get(base)));
    memory.forEach((name, bytes) -> table.add(name + ", peak extra memory", bytes / 1e9, "GB"));
    ratios.forEach((name, all) -> table.add(name, 100 * (median(all) - 1), "%"));
    micros.forEach((name, value) -> table.add(name, value, "us/operator"));
    notes(table, what);
    return table;
  }

  private void notes(BenchTable table, String what) {
    boolean all = what.equals("all");
    if (!djl()) {
      table.note(
          "DJL's PyTorch engine: left out; "
              + (device.equals(CPU)
                  ? "it is not on the class path"
                  : "its natives have no CUDA here"));
    }
    if (all || what.equals("qat-overhead")) {
      table.note(
          ratios.isEmpty()
              ? "qat-overhead: not measured; it needs 15 GiB of free memory"
              : "qat-overhead: over the step without quantization, of %d micro-batches; pairs of steps in one process"
                  .formatted(OverheadContestant.MICRO_BATCHES));
    }
    if ((all || what.equals("steps"))
        && best.keySet().stream().noneMatch(name -> name.startsWith("torch-script"))) {
      table.note(
          "torch-script: not measured; conformance/setup makes its environment, or GRACE_PYTHON"
              + " names a Python with torch");
    }
    if (what.equals("checkpoints")) {
      table.note(
          "checkpoints: gradients of all examples in one micro-batch, without the optimizer; memory"
              + " that native blocks keep is counted");
    }
  }

  /** Time of an operator on one number. */
  private void operators() throws IOException, InterruptedException {
    for (String engine : engines().keySet()) {
      operators(
          engine,
          Contestants.java(
              OperatorContestant.class, engine, "float32", threads, device, operators));
    }
    List<String> script = Contestants.script("bench_operators.py", threads, operators, device);
    if (!script.isEmpty()) {
      operators("torch-script", script);
    }
  }

  private Map<String, String> engines() {
    Map<String, String> out = new TreeMap<>(OVERHEAD);
    if (!djl()) {
      out.remove(DJL);
    }
    return out;
  }

  private boolean djl() {
    return device.equals(CPU) && Engine.hasEngine(DJL);
  }

  private void operators(String who, List<String> command)
      throws IOException, InterruptedException {
    String output = Contestants.output(who, command);
    for (String operator : List.of("view", "product", "sum")) {
      String name = who + " " + operator + (operator.equals("view") ? "" : " of two numbers");
      micros.merge(name, figure(output, name, operator + " "), Math::min);
    }
  }

  /** Time and memory of the gradients with and without gradient checkpointing. */
  private void checkpoints() throws IOException, InterruptedException {
    for (Map.Entry<String, String> engine : OVERHEAD.entrySet()) {
      for (boolean on : new boolean[] {false, true}) {
        String name = engine.getKey() + " " + engine.getValue() + (on ? " with checkpoints" : "");
        List<String> command =
            Contestants.java(
                CheckpointContestant.class,
                engine.getKey(),
                engine.getValue(),
                threads,
                device,
                shape,
                Boolean.toString(on));
        String output = Contestants.outputReturning(name, command);
        best.merge(name, figure(output, name, "seconds "), Math::min);
        memory.merge(name, figure(output, name, "peakBytes "), Math::max);
      }
    }
  }

  private void steps() throws IOException, InterruptedException {
    for (Contestant c : OWN) {
      if (!engines().containsKey(c.engine())) {
        continue;
      }
      keep(
          c.name(),
          Contestants.java(
              TrainContestant.class,
              c.engine(),
              c.compute(),
              threads,
              device,
              shape,
              Boolean.toString(c.quantized()),
              "true",
              steps));
    }
    for (String compute : List.of("bfloat16", "float32")) {
      List<String> command =
          Contestants.script("bench_train.py", shape, compute, threads, steps, device);
      if (!command.isEmpty()) {
        keep("torch-script-" + compute, command);
      }
    }
  }

  private void overhead() throws IOException, InterruptedException {
    boolean large = shape.equals(TrainBench.qwen2Vl2b().name());
    if (large
        && DecodeMemory.kibibytes(Path.of("/proc/meminfo"), "MemAvailable") < LARGE_KIBIBYTES) {
      return;
    }
    for (Map.Entry<String, String> engine : engines().entrySet()) {
      String name = engine.getKey() + " " + engine.getValue();
      List<String> command =
          Contestants.java(
              OverheadContestant.class,
              engine.getKey(),
              engine.getValue(),
              threads,
              device,
              shape,
              steps);
      if (large) {
        command.addAll(command.indexOf("-cp"), List.of(LARGE_HEAP));
      }
      ratios
          .computeIfAbsent("qat-overhead " + name, n -> new ArrayList<>())
          .add(figure(Contestants.output(name, command), name, "ratio "));
    }
  }

  private static double median(List<Double> values) {
    return values.stream().sorted().skip(values.size() / 2).findFirst().orElseThrow();
  }

  private void keep(String name, List<String> command) throws IOException, InterruptedException {
    best.merge(name, figure(Contestants.output(name, command), name, "seconds "), Math::min);
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
