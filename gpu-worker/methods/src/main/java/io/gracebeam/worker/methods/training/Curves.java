package io.gracebeam.worker.methods.training;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.work.Files2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The losses of every step, as {@code curves.json}: a list of objects with sorted keys. */
public final class Curves {
  /** File name inside a trained folder. */
  public static final String FILE = "curves.json";

  private final List<Map<String, Double>> rows = new ArrayList<>();

  /** Appends a row. */
  public void add(Map<String, Double> row) {
    rows.add(new TreeMap<>(row));
  }

  /** The rows, in order. */
  public List<Map<String, Double>> rows() {
    return rows;
  }

  /** Last value of a key, NaN if there is none. */
  public double last(String key) {
    return rows.isEmpty() ? Double.NaN : rows.getLast().getOrDefault(key, Double.NaN);
  }

  /** Writes the file into a folder. */
  public void write(Path folder) {
    StringBuilder out = new StringBuilder("[\n");
    for (int i = 0; i < rows.size(); i++) {
      out.append("  {");
      String comma = "";
      for (Map.Entry<String, Double> e : rows.get(i).entrySet()) {
        double v = e.getValue();
        String text =
            v == Math.rint(v) && Math.abs(v) < 1e15 ? Long.toString((long) v) : Double.toString(v);
        out.append(comma).append('"').append(e.getKey()).append("\": ").append(text);
        comma = ", ";
      }
      out.append(i + 1 < rows.size() ? "},\n" : "}\n");
    }
    Files2.write(folder.resolve(FILE), out.append("]\n").toString());
  }

  /** Reads a folder's file; no rows if it has none. */
  public static Curves read(Path folder) {
    Curves out = new Curves();
    Path file = folder.resolve(FILE);
    if (!Files.exists(file)) {
      return out;
    }
    try {
      for (JsonNode n : new ObjectMapper().readTree(Files.readAllBytes(file))) {
        Map<String, Double> row = new TreeMap<>();
        n.fields().forEachRemaining(e -> row.put(e.getKey(), e.getValue().asDouble()));
        out.add(row);
      }
    } catch (IOException e) {
      throw GraceException.data("%s: not a list of steps", file.getFileName()).withCause(e);
    }
    return out;
  }
}
