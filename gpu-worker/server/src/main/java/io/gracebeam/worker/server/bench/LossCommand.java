package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * {@code grace bench loss}: output head, loss and gradients in chunks of rows; the GRACE loss
 * against cross-entropy of the same chunks, here and in a plain PyTorch script. The contestants
 * take turns; times are the least of the rounds, memory is the most.
 */
final class LossCommand {
  static final String USAGE =
      "grace bench loss [--rows N] [--vocab N] [--width N] [--memory MB] [--compute float32|bfloat16]"
          + " [--rounds N] [--threads N] [--json FILE]";

  private static final String CPU = "cpu"; // peaks of a GPU's memory are not measured
  private static final String OWN = "libtorch-";
  private static final String DJL = "djl-pytorch-";
  private static final String SCRIPT = "torch-script-";
  private static final Map<String, String> LOSSES = losses();

  private LossCommand() {}

  private static Map<String, String> losses() {
    Map<String, String> out = new LinkedHashMap<>();
    out.put("ce", "CE");
    out.put("grace-top-k", "GRACE_TOP_K");
    out.put("grace-full", "GRACE_FULL");
    return out;
  }

  static void run(String[] args) throws IOException, InterruptedException {
    BenchOptions options =
        new BenchOptions(
            USAGE,
            Map.of(
                "--rows", "8192",
                "--vocab", "151936",
                "--width", "1536",
                "--memory", "256",
                "--compute", "float32",
                "--rounds", "1",
                "--threads", BenchOptions.processors(),
                "--json", ""),
            args);
    String compute = options.oneOf("--compute", "float32", "bfloat16");
    String threads = Integer.toString(options.positive("--threads"));
    String[] sizes = {
      Integer.toString(options.positive("--rows")),
      Integer.toString(options.positive("--vocab")),
      Integer.toString(options.positive("--width")),
      Integer.toString(options.positive("--memory"))
    };
    Map<String, Map<String, Double>> best = new LinkedHashMap<>();
    int rounds = options.positive("--rounds");
    for (int round = 0; round < rounds; round++) {
      for (Map.Entry<String, String> loss : LOSSES.entrySet()) {
        keep(best, OWN + loss.getKey(), java("LibTorch", compute, threads, loss.getValue(), sizes));
        if (compute.equals("float32")) {
          keep(
              best, DJL + loss.getKey(), java("PyTorch", compute, threads, loss.getValue(), sizes));
        }
      }
      List<String> script =
          Contestants.script(
              "bench_loss.py", compute, threads, sizes[0], sizes[1], sizes[2], sizes[3]);
      if (!script.isEmpty()) {
        keep(best, SCRIPT + "ce", script);
      }
      System.err.printf(Locale.ROOT, "round %d of %d done%n", round + 1, rounds);
    }
    BenchTable table =
        new BenchTable(
            "loss",
            Map.of(
                "logitRows", sizes[0],
                "vocab", sizes[1],
                "width", sizes[2],
                "memoryMb", sizes[3],
                "compute", compute,
                "threads", threads));
    best.forEach((name, figures) -> add(table, best, name, figures));
    if (!best.containsKey(SCRIPT + "ce")) {
      table.note("torch-script: not measured; conformance/setup makes its environment");
    }
    table.report(options.text("--json"));
  }

  private static List<String> java(
      String engine, String compute, String threads, String loss, String[] sizes) {
    return Contestants.java(
        LossContestant.class,
        engine,
        compute,
        threads,
        CPU,
        loss,
        sizes[0],
        sizes[1],
        sizes[2],
        sizes[3]);
  }

  private static void add(
      BenchTable table,
      Map<String, Map<String, Double>> best,
      String name,
      Map<String, Double> figures) {
    Map<String, Double> ratios = new LinkedHashMap<>();
    String own = name.startsWith(DJL) ? DJL : OWN;
    for (String base : List.of(own + "ce", SCRIPT + "ce")) {
      if (!base.equals(name) && best.containsKey(base)) {
        ratios.put(base, figures.get("seconds") / best.get(base).get("seconds"));
      }
    }
    table.add(name, figures.get("seconds"), "s", ratios);
    if (figures.containsKey("lossSeconds")) {
      table.add(name + ", loss without products", figures.get("lossSeconds"), "s");
    }
    table.add(name + ", peak extra memory", figures.get("peakBytes") / 1e9, "GB");
  }

  private static void keep(Map<String, Map<String, Double>> best, String name, List<String> command)
      throws IOException, InterruptedException {
    String output = Contestants.output(name, command);
    Map<String, Double> found = new HashMap<>();
    output
        .lines()
        .map(line -> line.split(" ", 2))
        .filter(words -> words[0].endsWith("econds") || words[0].equals("peakBytes"))
        .forEach(words -> found.put(words[0], Double.parseDouble(words[1])));
    if (!found.containsKey("seconds") || !found.containsKey("peakBytes")) {
      throw GraceException.worker("%s gave no figures", name);
    }
    Map<String, Double> kept = best.computeIfAbsent(name, n -> new HashMap<>());
    found.forEach(
        (key, value) -> kept.merge(key, value, key.equals("peakBytes") ? Math::max : Math::min));
  }
}
