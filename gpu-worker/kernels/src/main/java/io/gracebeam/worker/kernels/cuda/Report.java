package io.gracebeam.worker.kernels.cuda;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Rows of results as JSON: name, value, unit, comparedTo, ratio. */
final class Report {
  private final List<String> rows = new ArrayList<>();
  private final List<String> failures = new ArrayList<>();

  /** Adds a figure, and prints it; comparedTo and ratio may be null. */
  void row(String name, double value, String unit, String comparedTo, Double ratio) {
    System.out.printf(
        Locale.ROOT,
        "%-72s %12.4g %s%s%n",
        name,
        value,
        unit,
        ratio == null ? "" : " = %.3f of %s".formatted(ratio, comparedTo));
    rows.add(
        "{\"name\": %s, \"value\": %s, \"unit\": %s, \"comparedTo\": %s, \"ratio\": %s}"
            .formatted(
                text(name),
                value,
                text(unit),
                comparedTo == null ? "null" : text(comparedTo),
                ratio));
  }

  /** Adds a comparison that failed, and prints it. */
  void failure(String what) {
    System.out.println("FAILED " + what);
    failures.add(text(what));
  }

  boolean good() {
    return failures.isEmpty();
  }

  /** The whole of it; {@code torch} is JSON of another program, or null. */
  String json(String device, String torch) {
    return "{\"device\": %s,%n \"failures\": [%s],%n \"rows\": [%n  %s],%n \"torch\": %s}%n"
        .formatted(
            text(device),
            String.join(", ", failures),
            String.join(",\n  ", rows),
            torch == null ? "null" : torch.strip());
  }

  private static String text(String s) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : s.toCharArray()) {
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < ' ') {
        out.append("\\u%04x".formatted((int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }
}
