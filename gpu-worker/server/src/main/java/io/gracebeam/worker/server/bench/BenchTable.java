package io.gracebeam.worker.server.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * Figures of a benchmark, each compared to others of the same run; printed, and written as JSON.
 */
final class BenchTable {
  private record Row(String name, double value, String unit, Map<String, Double> ratios) {}

  private final String bench;
  private final Map<String, String> settings;
  private final List<Row> rows = new ArrayList<>();
  private final List<String> notes = new ArrayList<>();

  /**
   * An empty table.
   *
   * @param bench what is measured
   * @param settings shape, threads and the like
   */
  BenchTable(String bench, Map<String, String> settings) {
    this.bench = bench;
    this.settings = settings;
  }

  /** A figure that is compared to nothing. */
  void add(String name, double value, String unit) {
    add(name, value, unit, Map.of());
  }

  /** A figure and its ratio to another. */
  void add(String name, double value, String unit, String comparedTo, double ratio) {
    add(name, value, unit, Map.of(comparedTo, ratio));
  }

  /** A figure and its ratios to others, by their names. */
  void add(String name, double value, String unit, Map<String, Double> ratios) {
    rows.add(new Row(name, value, unit, ratios));
  }

  /** A line below the table. */
  void note(String text) {
    notes.add(text);
  }

  /** Prints the table, and writes it if a file is named. */
  void report(String file) throws IOException {
    ObjectMapper json = new ObjectMapper();
    ObjectNode root = json.createObjectNode();
    root.put("bench", bench);
    settings.forEach(root::put);
    root.put("processor", processor());
    ArrayNode out = root.putArray("rows");
    for (Row r : rows) {
      ObjectNode row = out.addObject();
      row.put("name", r.name);
      row.put("value", r.value);
      row.put("unit", r.unit);
      if (!r.ratios.isEmpty()) {
        r.ratios.forEach(row.putObject("ratios")::put);
      }
      String compared =
          r.ratios.entrySet().stream()
              .map(e -> String.format(Locale.ROOT, "%.2f of %s", e.getValue(), e.getKey()))
              .collect(Collectors.joining(", "));
      System.out.printf(Locale.ROOT, "%-44s %12.4f %-8s %s%n", r.name, r.value, r.unit, compared);
    }
    notes.forEach(System.out::println);
    notes.forEach(root.withArray("notes")::add);
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
