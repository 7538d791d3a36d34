package io.gracebeam.transforms.scoring;

import io.gracebeam.proto.error.GraceException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Tab-separated values with quoted cells, in which tabs, line ends and doubled quotes may be. */
final class Tsv {
  private Tsv() {}

  /** The rows by column name; a short row has empty cells at its end. */
  static List<Map<String, String>> read(Path file) {
    List<List<String>> cells = parse(file, JsonFiles.text(file));
    if (cells.isEmpty()) {
      throw GraceException.data("%s: it is empty; a header line is expected", file);
    }
    List<String> header = cells.get(0);
    if (new HashSet<>(header).size() != header.size()) {
      throw GraceException.data("%s: a column is named twice in the header", file);
    }
    List<Map<String, String>> rows = new ArrayList<>();
    for (int i = 1; i < cells.size(); i++) {
      List<String> row = cells.get(i);
      if (row.size() > header.size()) {
        throw GraceException.data(
            "%s row %d: %d cells, but the header names %d", file, i, row.size(), header.size());
      }
      Map<String, String> named = new LinkedHashMap<>();
      for (int j = 0; j < header.size(); j++) {
        named.put(header.get(j), j < row.size() ? row.get(j) : "");
      }
      rows.add(named);
    }
    return rows;
  }

  private static List<List<String>> parse(Path file, String text) {
    List<List<String>> rows = new ArrayList<>();
    List<String> row = new ArrayList<>();
    int i = 0;
    while (i < text.length()) {
      StringBuilder cell = new StringBuilder();
      if (text.charAt(i) == '"') {
        i++;
        while (true) {
          if (i >= text.length()) {
            throw GraceException.data("%s row %d: a quoted cell is not closed", file, rows.size());
          }
          char c = text.charAt(i++);
          if (c != '"') {
            cell.append(c);
          } else if (i < text.length() && text.charAt(i) == '"') {
            cell.append('"');
            i++;
          } else {
            break;
          }
        }
      }
      while (i < text.length() && "\t\r\n".indexOf(text.charAt(i)) < 0) {
        cell.append(text.charAt(i++));
      }
      row.add(cell.toString());
      if (i < text.length() && text.charAt(i) == '\t') {
        i++;
        if (i < text.length()) {
          continue;
        }
        row.add("");
      }
      i += text.startsWith("\r\n", i) ? 2 : 1;
      if (row.size() > 1 || !row.get(0).isEmpty()) {
        rows.add(row);
      }
      row = new ArrayList<>();
    }
    return rows;
  }

  /** The cell as it is written: quoted where it must be. */
  static String cell(String text) {
    boolean quote = text.chars().anyMatch(c -> c == '\t' || c == '\n' || c == '\r' || c == '"');
    return quote ? '"' + text.replace("\"", "\"\"") + '"' : text;
  }
}
