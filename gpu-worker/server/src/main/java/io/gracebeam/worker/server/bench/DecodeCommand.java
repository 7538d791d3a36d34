package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.KernelBench;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * {@code grace bench decode}: tokens a second and memory of decoders with random weights of true
 * sizes, 16 bit against several INT4 layouts. Each has a process of its own; they take turns, round
 * after round, and the best round counts.
 */
final class DecodeCommand {
  static final String USAGE =
      "grace bench decode [--shape qwen2-vl-2b|llava-1.5-7b|student] [--prompt N] [--tokens N] [--rounds N] [--threads N] [--layouts NAME,...] [--json FILE]";
  private static final String BASE = "16-bit";
  private static final List<KernelBench.Layout> LAYOUTS =
      List.of(
          new KernelBench.Layout(BASE, 16, 16, 16),
          new KernelBench.Layout("int4", 4, 16, 16),
          new KernelBench.Layout("int4-head8", 4, 8, 16),
          new KernelBench.Layout("int4-head4", 4, 4, 16),
          new KernelBench.Layout("int4-head8-kv8", 4, 8, 8));

  /** A running contestant and its best figures. */
  private static final class Runner {
    final KernelBench.Layout layout;
    final Process process;
    final BufferedReader out;
    final BufferedWriter in;
    final long weights;
    final long work;
    double prefill = Double.MAX_VALUE;
    double decode = Double.MAX_VALUE;
    long resident;

    Runner(KernelBench.Layout layout, List<String> command) throws IOException {
      this.layout = layout;
      this.process = Contestants.start(command);
      this.out = process.inputReader();
      this.in = process.outputWriter();
      String[] bytes = line("bytes").split(" ");
      this.weights = Long.parseLong(bytes[1]);
      this.work = Long.parseLong(bytes[2]);
    }

    void round() throws IOException {
      in.write("go\n");
      in.flush();
      String[] parts = line("seconds").split(" ");
      if (!parts[3].equals("finite")) {
        throw GraceException.bug("%s: the logits are not finite", layout.name());
      }
      prefill = Math.min(prefill, Double.parseDouble(parts[1]));
      decode = Math.min(decode, Double.parseDouble(parts[2]));
      resident = Math.max(resident, Long.parseLong(parts[5]));
    }

    private String line(String start) throws IOException {
      for (String line = out.readLine(); line != null; line = out.readLine()) {
        if (line.startsWith(start)) {
          return line;
        }
      }
      throw GraceException.worker(
          "%s ended without a figure; is the memory enough?", layout.name());
    }

    void end() throws IOException, InterruptedException {
      in.close();
      process.waitFor();
    }
  }

  private DecodeCommand() {}

  static void run(String[] args) throws IOException, InterruptedException {
    BenchOptions options =
        new BenchOptions(
            USAGE,
            Map.of(
                "--shape", "qwen2-vl-2b",
                "--prompt", "256",
                "--tokens", "32",
                "--rounds", "3",
                "--threads", BenchOptions.processors(),
                "--layouts", String.join(",", LAYOUTS.stream().map(l -> l.name()).toList()),
                "--json", ""),
            args);
    String shape = options.text("--shape");
    DecodeContestant.shape(shape);
    int prompt = options.positive("--prompt");
    int tokens = options.positive("--tokens");
    int rounds = options.positive("--rounds");
    int threads = options.positive("--threads");
    Map<String, Runner> runners = new LinkedHashMap<>();
    try {
      for (KernelBench.Layout l : chosen(options.text("--layouts"))) {
        runners.put(l.name(), new Runner(l, command(shape, l, threads, prompt, tokens)));
      }
      for (int round = 0; round < rounds; round++) {
        for (Runner r : runners.values()) {
          r.round();
        }
        System.err.printf("round %d of %d done%n", round + 1, rounds);
      }
    } finally {
      for (Runner r : runners.values()) {
        r.end();
      }
    }
    BenchTable table =
        new BenchTable(
            "decode",
            Map.of(
                "shape", shape,
                "threads", Integer.toString(threads),
                "prompt", Integer.toString(prompt),
                "tokens", Integer.toString(tokens)));
    try (KernelBench bench = new KernelBench(threads)) {
      table.note(bench.describe());
      double read = bench.readBandwidth(1L << 30, 5);
      table.add("memory read", read / 1e9, "GB/s");
      runners.values().forEach(r -> rows(table, r, runners.get(BASE), prompt, tokens, read));
    }
    table.report(options.text("--json"));
  }

  private static void rows(
      BenchTable table, Runner r, Runner base, int prompt, int tokens, double read) {
    String name = r.layout.name();
    double speed = tokens / r.decode;
    add(table, name + " decode", speed, "tokens/s", base == null ? 0 : tokens / base.decode);
    double bytes = r.weights * speed;
    table.add(name + " decode, weights read", bytes / 1e9, "GB/s", "memory read", bytes / read);
    add(
        table,
        name + " prefill",
        prompt / r.prefill,
        "tokens/s",
        base == null ? 0 : prompt / base.prefill);
    double planned = (r.weights + r.work) / 1e9;
    add(
        table,
        name + " weights, cache and scratch",
        planned,
        "GB",
        base == null ? 0 : (base.weights + base.work) / 1e9);
    add(table, name + " resident", r.resident / 1e9, "GB", base == null ? 0 : base.resident / 1e9);
  }

  private static void add(BenchTable table, String name, double value, String unit, double base) {
    if (base > 0) {
      table.add(name, value, unit, BASE, value / base);
    } else {
      table.add(name, value, unit);
    }
  }

  private static List<KernelBench.Layout> chosen(String names) {
    List<KernelBench.Layout> out = new ArrayList<>();
    for (String name : names.split(",")) {
      out.add(
          LAYOUTS.stream()
              .filter(l -> l.name().equals(name))
              .findFirst()
              .orElseThrow(
                  () ->
                      GraceException.user(
                          "--layouts has '%s'; allowed: %s",
                          name, LAYOUTS.stream().map(KernelBench.Layout::name).toList())));
    }
    return out;
  }

  private static List<String> command(
      String shape, KernelBench.Layout l, int threads, int prompt, int tokens) {
    return Contestants.java(
        DecodeContestant.class,
        shape,
        Integer.toString(l.bits()),
        Integer.toString(l.headBits()),
        Integer.toString(l.kvBits()),
        Integer.toString(threads),
        Integer.toString(prompt),
        Integer.toString(tokens));
  }
}
