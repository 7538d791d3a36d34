package io.gracebeam.worker.server.bench;

import io.gracebeam.worker.kernels.KernelBench;
import java.io.IOException;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * {@code grace bench kernels}: products of few and many inputs with a large weight. One input is
 * compared to the speed at which memory is read, more to torch's product with bfloat16 weights or,
 * where torch is not set up, to our own.
 */
final class KernelsCommand {
  static final String USAGE =
      "grace bench kernels [--rows N] [--cols N] [--passes N] [--threads N] [--json FILE]";
  private static final int[][] WEIGHTS = {{4, 128}, {4, 32}, {8, 128}, {16, 0}};
  private static final int[] INPUTS = {1, 4, 16, 256};
  private static final String READ = "memory read";
  private static final String TORCH = "torch-bfloat16";
  private static final String OWN = "bfloat16";
  private static final long READ_BYTES = 1L << 30;

  private KernelsCommand() {}

  static void run(String[] args) throws IOException, InterruptedException {
    BenchOptions options =
        new BenchOptions(
            USAGE,
            Map.of(
                "--rows", "65536",
                "--cols", "8192",
                "--passes", "7",
                "--threads", BenchOptions.processors(),
                "--json", ""),
            args);
    int rows = options.positive("--rows");
    int cols = options.positive("--cols");
    int passes = options.positive("--passes");
    int threads = options.positive("--threads");
    BenchTable table =
        new BenchTable(
            "kernels", Map.of("weight", rows + " x " + cols, "threads", Integer.toString(threads)));
    try (KernelBench bench = new KernelBench(threads)) {
      table.note(bench.describe());
      double read = bench.readBandwidth(READ_BYTES, passes);
      table.add(READ, read / 1e9, "GB/s");
      Map<String, Double> torch = torch(rows, cols, threads, passes);
      if (torch.isEmpty()) {
        table.note("torch: not measured; conformance/setup makes its environment");
      }
      for (int m : INPUTS) {
        double dense = 0;
        double work = 2.0 * m * rows * cols;
        for (String name : List.of("torch-bfloat16", "torch-int4")) {
          Double seconds = torch.get(name + " " + m);
          if (seconds == null) {
            continue;
          }
          String row = name + ", " + m + (m == 1 ? " input" : " inputs");
          if (m == 1) {
            double bytes = (double) rows * cols * (name.endsWith("int4") ? 0.53125 : 2);
            table.add(row, bytes / seconds / 1e9, "GB/s", READ, bytes / seconds / read);
          } else {
            dense = name.endsWith("16") ? work / seconds : dense;
            table.add(row, work / seconds / 1e9, "GFLOP/s", TORCH, work / seconds / dense);
          }
        }
        String base = dense > 0 ? TORCH : OWN;
        for (int i = WEIGHTS.length - 1; i >= 0; i--) {
          int bits = WEIGHTS[i][0];
          int group = WEIGHTS[i][1];
          String name =
              String.format(
                  Locale.ROOT,
                  "%s, %d input%s",
                  bits == 16 ? "bfloat16" : "INT" + bits + " in groups of " + group,
                  m,
                  m == 1 ? "" : "s");
          KernelBench.Product p =
              bench.product(bits, rows, cols, group, m, m > 16 ? Math.min(2, passes) : passes);
          if (m == 1) {
            double speed = p.bytes() / p.seconds();
            table.add(name, speed / 1e9, "GB/s", READ, speed / read);
          } else {
            double speed = work / p.seconds();
            dense = dense > 0 ? dense : speed;
            table.add(name, speed / 1e9, "GFLOP/s", base, speed / dense);
          }
        }
      }
    }
    table.report(options.text("--json"));
  }

  /** Torch's seconds by name and inputs; empty where conformance/ was not set up. */
  private static Map<String, Double> torch(int rows, int cols, int threads, int passes)
      throws IOException, InterruptedException {
    Map<String, Double> out = new LinkedHashMap<>();
    List<String> command =
        Contestants.script(
            "bench_kernels.py",
            Integer.toString(rows),
            Integer.toString(cols),
            String.join(",", Arrays.stream(INPUTS).mapToObj(Integer::toString).toList()),
            Integer.toString(threads),
            Integer.toString(passes));
    if (!command.isEmpty()) {
      Contestants.output("bench_kernels.py", command)
          .lines()
          .map(line -> line.split(" "))
          .forEach(w -> out.put(w[0] + " " + w[1], Double.parseDouble(w[2])));
    }
    return out;
  }
}
