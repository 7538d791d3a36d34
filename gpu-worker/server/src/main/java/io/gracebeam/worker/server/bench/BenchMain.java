package io.gracebeam.worker.server.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.libtorch.LibTorchEngine;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * {@code grace bench train}: times a full GRACE training step of this engine, of DJL's PyTorch
 * engine and of a plain PyTorch script. The contestants take turns, round after round; the figure
 * of each is the least of its rounds' medians, which other work on the machine disturbs least.
 */
public final class BenchMain {
  private static final String USAGE =
      """
      grace bench train [--shape student|qwen2-vl-2b] [--rounds N] [--steps N] [--threads N] [--json FILE]
      """;
  private static final String BASE = "libtorch-bfloat16";

  private record Contestant(String name, String engine, String compute, boolean quantized) {}

  private static final List<Contestant> OWN =
      List.of(
          new Contestant(BASE, "LibTorch", "bfloat16", true),
          new Contestant("libtorch-bfloat16-unquantised", "LibTorch", "bfloat16", false),
          new Contestant("libtorch-float32", "LibTorch", "float32", true),
          new Contestant("djl-pytorch-float32", "PyTorch", "float32", true));

  private BenchMain() {}

  /** Ends with the exit code of the error's category. */
  public static void main(String[] args) {
    try {
      run(args);
    } catch (GraceException e) {
      System.err.println("grace bench: " + e.getMessage());
      System.exit(e.category().exitCode());
    } catch (IOException | InterruptedException e) {
      System.err.println("grace bench: " + e);
      System.exit(1);
    }
  }

  private static void run(String[] args) throws IOException, InterruptedException {
    if (args.length == 0 || !args[0].equals("train") || args.length % 2 == 0) {
      throw GraceException.user("%s", USAGE.strip());
    }
    Map<String, String> options =
        new LinkedHashMap<>(
            Map.of(
                "--shape", "student",
                "--rounds", "3",
                "--steps", "5",
                "--threads", Integer.toString(Runtime.getRuntime().availableProcessors()),
                "--json", ""));
    for (int i = 1; i < args.length; i += 2) {
      if (options.replace(args[i], args[i + 1]) == null) {
        throw GraceException.user("%s is unknown; usage: %s", args[i], USAGE.strip());
      }
    }
    String shape = TrainContestant.shape(options.get("--shape")).name();
    int rounds = positive(options, "--rounds");
    int steps = positive(options, "--steps");
    int threads = positive(options, "--threads");
    Map<String, Double> best = new LinkedHashMap<>();
    for (int round = 0; round < rounds; round++) {
      for (Contestant c : OWN) {
        keep(best, c.name(), own(c, shape, threads, steps));
      }
      for (String compute : List.of("bfloat16", "float32")) {
        List<String> command = script(shape, compute, threads, steps);
        if (!command.isEmpty()) {
          keep(best, "torch-script-" + compute, seconds(command));
        }
      }
      System.err.printf(Locale.ROOT, "round %d of %d done%n", round + 1, rounds);
    }
    report(best, shape, threads, options.get("--json"));
  }

  private static int positive(Map<String, String> options, String name) {
    String value = options.get(name);
    if (!value.matches("[1-9][0-9]{0,3}")) {
      throw GraceException.user("%s is '%s'; allowed: 1 to 9999", name, value);
    }
    return Integer.parseInt(value);
  }

  private static void keep(Map<String, Double> best, String name, double seconds) {
    best.merge(name, seconds, Math::min);
  }

  private static double own(Contestant c, String shape, int threads, int steps)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(java.lang.management.ManagementFactory.getRuntimeMXBean().getInputArguments());
    command.addAll(
        List.of(
            "-cp",
            System.getProperty("java.class.path"),
            TrainContestant.class.getName(),
            c.engine(),
            c.compute(),
            Integer.toString(threads),
            shape,
            Boolean.toString(c.quantized()),
            "true",
            Integer.toString(steps)));
    return seconds(command);
  }

  /** The command of the PyTorch script; empty where its environment was not set up. */
  private static List<String> script(String shape, String compute, int threads, int steps) {
    Path root = Path.of(System.getProperty("grace.root", "."), "conformance");
    Path python = root.resolve(".venv/bin/python");
    if (!Files.isExecutable(python)) {
      return List.of();
    }
    return List.of(
        python.toString(),
        root.resolve("bench_train.py").toString(),
        shape,
        compute,
        Integer.toString(threads),
        Integer.toString(steps));
  }

  private static double seconds(List<String> command) throws IOException, InterruptedException {
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
    LibTorchEngine.settings().forEach(builder.environment()::putIfAbsent);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    int status = process.waitFor();
    return output
        .lines()
        .filter(line -> line.startsWith("seconds "))
        .mapToDouble(line -> Double.parseDouble(line.substring("seconds ".length())))
        .findFirst()
        .orElseThrow(
            () ->
                GraceException.worker(
                    "a contestant ended with status %d and no figure: %s",
                    status, String.join(" ", command.subList(command.size() - 7, command.size()))));
  }

  private static void report(Map<String, Double> best, String shape, int threads, String file)
      throws IOException {
    ObjectMapper json = new ObjectMapper();
    ObjectNode root = json.createObjectNode();
    root.put("bench", "train");
    root.put("shape", shape);
    root.put("threads", threads);
    root.put("processor", processor());
    ArrayNode rows = root.putArray("rows");
    double base = best.get(BASE);
    System.out.printf(
        Locale.ROOT, "%-32s %12s   %s%n", "full GRACE step, " + shape, "seconds", BASE + " is");
    best.forEach(
        (name, seconds) -> {
          ObjectNode row = rows.addObject();
          row.put("name", name);
          row.put("value", seconds);
          row.put("unit", "s/step");
          row.put("comparedTo", BASE);
          row.put("ratio", seconds / base);
          System.out.printf(
              Locale.ROOT, "%-32s %12.4f   %.2f x as fast%n", name, seconds, seconds / base);
        });
    for (String script : Arrays.asList("torch-script-bfloat16", "torch-script-float32")) {
      if (!best.containsKey(script)) {
        System.out.println(script + ": not measured; conformance/setup makes its environment");
      }
    }
    if (!file.isEmpty()) {
      Files.writeString(
          Path.of(file), json.writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n");
    }
  }

  private static String processor() throws IOException {
    return Files.readAllLines(Path.of("/proc/cpuinfo")).stream()
        .filter(line -> line.startsWith("model name"))
        .map(line -> line.substring(line.indexOf(':') + 1).strip())
        .findFirst()
        .orElse("unknown");
  }
}
