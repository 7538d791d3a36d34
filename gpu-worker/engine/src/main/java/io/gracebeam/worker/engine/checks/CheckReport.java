package io.gracebeam.worker.engine.checks;

import com.google.gson.GsonBuilder;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Rows of results as JSON: name, value, unit, comparedTo, ratio; like that of the kernels. */
final class CheckReport {
  /** A figure and its ratio to another. */
  private record Row(String name, double value, String unit, String comparedTo, double ratio) {}

  private final List<Row> rows = new ArrayList<>();
  private final List<String> failures = new ArrayList<>();
  private final List<String> notes = new ArrayList<>();

  /** Adds a figure, and prints it. */
  void row(String name, double value, String unit, String comparedTo, double ratio) {
    System.out.printf(
        Locale.ROOT, "%-48s %10.3g %s = %.3f of %s%n", name, value, unit, ratio, comparedTo);
    rows.add(new Row(name, value, unit, comparedTo, ratio));
  }

  /** Adds a comparison that failed, and prints it. */
  void failure(String what) {
    System.out.println("FAILED " + what);
    failures.add(what);
  }

  /** Adds what is no failure and yet no figure, and prints it. */
  void note(String what) {
    System.out.println(what);
    notes.add(what);
  }

  boolean good() {
    return failures.isEmpty();
  }

  int failures() {
    return failures.size();
  }

  /** The whole of it. */
  String json(String device) {
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("device", device);
    all.put("failures", failures);
    all.put("rows", rows);
    all.put("notes", notes);
    return new GsonBuilder().disableHtmlEscaping().setPrettyPrinting().create().toJson(all) + "\n";
  }
}
