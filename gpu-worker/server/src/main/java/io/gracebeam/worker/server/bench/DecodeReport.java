package io.gracebeam.worker.server.bench;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.ToDoubleFunction;

/** Rows of the decode bench: every figure of a contestant, with ratios to its rivals' figures. */
final class DecodeReport {
  private static final double GIGA = 1e9;
  private static final String GB = "GB";

  private final BenchTable table;
  private final int prompt;
  private final int tokens;
  private final double read;

  /**
   * Of one run.
   *
   * @param prompt tokens of the prompt
   * @param tokens decoded
   * @param read bytes a second at which memory is read
   */
  DecodeReport(BenchTable table, int prompt, int tokens, double read) {
    this.table = table;
    this.prompt = prompt;
    this.tokens = tokens;
    this.read = read;
  }

  /**
   * Adds a contestant.
   *
   * @param rivals what its figures are divided by, by name
   */
  void add(String name, DecodeRunner.Figures f, Map<String, DecodeRunner.Figures> rivals) {
    row(name + " decode", f, "tokens/s", rivals, v -> tokens / v.decode());
    double bytes = f.weights() * tokens / f.decode();
    table.add(name + " decode, weights read", bytes / GIGA, "GB/s", "memory read", bytes / read);
    row(name + " prefill", f, "tokens/s", rivals, v -> prompt / v.prefill());
    if (f.work() > 0) {
      row(
          name + " decoder's weights, cache and scratch",
          f,
          GB,
          rivals,
          v -> v.work() > 0 ? (v.weights() + v.work()) / GIGA : Double.NaN);
    }
  }

  /** Adds what a process took that holds a decoder and no more. */
  void resident(String name, DecodeRunner.Figures f, Map<String, DecodeRunner.Figures> rivals) {
    row(name + " resident", f, GB, rivals, v -> v.resident() / GIGA);
    row(name + " resident, peak", f, GB, rivals, v -> v.peak() / GIGA);
  }

  /** Adds the memory of a process that holds a whole model, with its ratio to that of a base. */
  void whole(
      String name,
      DecodeRunner.Figures f,
      DecodeRunner.Whole w,
      String base,
      Optional<Holding> other) {
    Holding own = new Holding(f, w);
    table.add(
        name + " model, weights in memory",
        own.weights() / GIGA,
        GB,
        ratio(own, base, other, Holding::weights));
    table.add(
        name + " model, resident, peak",
        f.peak() / GIGA,
        GB,
        ratio(own, base, other, h -> h.f.peak()));
    Map<String, Double> ratios = new LinkedHashMap<>();
    ratios.put("grace plan", own.taken() / w.planned());
    ratios.putAll(ratio(own, base, other, Holding::taken));
    table.add(name + " model, resident, peak, without the JVM", own.taken() / GIGA, GB, ratios);
  }

  /** A whole model's process. */
  record Holding(DecodeRunner.Figures f, DecodeRunner.Whole w) {
    double weights() {
      return f.weights() + w.beside();
    }

    /** Beyond what the process took before it had weights. */
    double taken() {
      return f.peak() - w.process();
    }
  }

  private static Map<String, Double> ratio(
      Holding own, String base, Optional<Holding> other, ToDoubleFunction<Holding> figure) {
    return other.isEmpty()
        ? Map.of()
        : Map.of(base, figure.applyAsDouble(own) / figure.applyAsDouble(other.get()));
  }

  /** Adds a figure and its ratios to the rivals that have it too. */
  private void row(
      String name,
      DecodeRunner.Figures f,
      String unit,
      Map<String, DecodeRunner.Figures> rivals,
      ToDoubleFunction<DecodeRunner.Figures> figure) {
    double value = figure.applyAsDouble(f);
    Map<String, Double> ratios = new LinkedHashMap<>();
    rivals.forEach(
        (rival, v) -> {
          double other = figure.applyAsDouble(v);
          if (other > 0) {
            ratios.put(rival, value / other);
          }
        });
    table.add(name, value, unit, ratios);
  }
}
