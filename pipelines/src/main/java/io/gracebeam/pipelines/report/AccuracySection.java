package io.gracebeam.pipelines.report;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** What the page says about accuracy: the sentence at its head, the chart and the table. */
final class AccuracySection {
  private final JsonNode report;
  private final StringBuilder page;

  /** Writes to {@code page} what {@code report} says. */
  AccuracySection(JsonNode report, StringBuilder page) {
    this.report = report;
    this.page = page;
  }

  void headline() {
    JsonNode table = report.path("table");
    JsonNode base = find(table, report.path("baseline").asText(), "all");
    JsonNode best = null;
    for (JsonNode row : table) {
      if (row.path("grace").asBoolean() && row.path("benchmark").asText().equals("all")) {
        best = row;
        break;
      }
    }
    if (base == null || best == null) {
      return;
    }
    double low = best.path("differenceLow").asDouble();
    double high = best.path("differenceHigh").asDouble();
    String verdict = low > 0 ? "above" : high < 0 ? "below" : "not distinguishable from";
    page.append("<p class=\"headline\"><b>")
        .append(Html.escape(best.path("variant").asText()))
        .append("</b> answers <b>")
        .append(Html.percent(best.path("accuracy").asDouble()))
        .append(" %</b> of the questions, its 16-bit baseline ")
        .append(Html.percent(base.path("accuracy").asDouble()))
        .append(" %: ")
        .append(Html.points(best.path("difference").asDouble()))
        .append(" points (95 % interval ")
        .append(Html.points(low))
        .append(" to ")
        .append(Html.points(high))
        .append("), ")
        .append(verdict)
        .append(" the baseline.</p>");
  }

  private static JsonNode find(JsonNode table, String variant, String benchmark) {
    for (JsonNode row : table) {
      if (row.path("variant").asText().equals(variant)
          && row.path("benchmark").asText().equals(benchmark)) {
        return row;
      }
    }
    return null;
  }

  void table() {
    JsonNode table = report.path("table");
    if (table.isEmpty()) {
      return;
    }
    Html.section(
        page,
        "Accuracy",
        "Mean credit of the answers in percent (right is 1, wrong is 0, some benchmarks give"
            + " parts); 95 % bootstrap intervals over questions. Differences are paired with the"
            + " 16-bit baseline, question by question.");
    Set<String> benchmarks = new LinkedHashSet<>(List.of("all"));
    Set<String> variants = new LinkedHashSet<>();
    for (JsonNode row : table) {
      benchmarks.add(row.path("benchmark").asText());
      variants.add(row.path("variant").asText());
    }
    List<Charts.Interval> dots = new ArrayList<>();
    for (String variant : variants) {
      JsonNode row = find(table, variant, "all");
      if (row != null) {
        dots.add(
            new Charts.Interval(
                variant,
                mark(row),
                row.path("low").asDouble(),
                row.path("accuracy").asDouble(),
                row.path("high").asDouble()));
      }
    }
    if (!dots.isEmpty()) {
      page.append(Charts.intervals("Accuracy over all benchmarks", dots));
    }
    page.append("<div class=\"scroll\"><table><thead><tr><th>variant</th><th>bits</th>");
    for (String benchmark : benchmarks) {
      page.append("<th>")
          .append(Html.escape(benchmark))
          .append("</th><th>vs. ")
          .append(Html.escape(report.path("baseline").asText("baseline")))
          .append("</th>");
    }
    page.append("</tr></thead><tbody>");
    for (String variant : variants) {
      JsonNode any = null;
      for (JsonNode row : table) {
        if (row.path("variant").asText().equals(variant)) {
          any = row;
        }
      }
      page.append(any != null && any.path("grace").asBoolean() ? "<tr class=\"own\">" : "<tr>")
          .append("<th>")
          .append(Html.escape(variant))
          .append("</th><td>")
          .append(any == null ? "" : any.path("bits").asInt())
          .append("</td>");
      for (String benchmark : benchmarks) {
        JsonNode row = find(table, variant, benchmark);
        if (row == null) {
          page.append("<td></td><td></td>");
          continue;
        }
        page.append("<td><b>")
            .append(Html.percent(row.path("accuracy").asDouble()))
            .append("</b> <small>")
            .append(Html.percent(row.path("low").asDouble()))
            .append("–")
            .append(Html.percent(row.path("high").asDouble()))
            .append("</small></td>");
        double low = row.path("differenceLow").asDouble();
        double high = row.path("differenceHigh").asDouble();
        page.append("<td class=\"")
            .append(low > 0 ? "up" : high < 0 ? "down" : "even")
            .append("\">");
        if (row.has("difference")) {
          page.append(Html.points(row.path("difference").asDouble()))
              .append(" <small>")
              .append(Html.points(low))
              .append(" to ")
              .append(Html.points(high))
              .append("</small>");
        }
        sibling(row);
        page.append("</td>");
      }
      page.append("</tr>");
    }
    page.append("</tbody></table></div>");
    figures();
    page.append("</section>\n");
  }

  /** What benchmarks measure beside the mean credit, of each variant and seed. */
  private void figures() {
    Map<String, Set<String>> names = new LinkedHashMap<>();
    for (JsonNode row : report.path("rows")) {
      row.path("metrics")
          .fieldNames()
          .forEachRemaining(
              name -> {
                if (!name.equals("accuracy") && !name.startsWith("accuracy/")) {
                  names
                      .computeIfAbsent(row.path("benchmark").asText(), b -> new TreeSet<>())
                      .add(name);
                }
              });
    }
    names.forEach(this::figures);
  }

  private void figures(String benchmark, Set<String> names) {
    page.append("<details><summary>Other figures of ")
        .append(Html.escape(benchmark))
        .append("</summary><div class=\"scroll\"><table><thead><tr><th>variant</th><th>seed</th>");
    names.forEach(name -> page.append("<th>").append(Html.escape(name)).append("</th>"));
    page.append("</tr></thead><tbody>");
    for (JsonNode row : report.path("rows")) {
      if (!row.path("benchmark").asText().equals(benchmark)) {
        continue;
      }
      page.append("<tr><th>")
          .append(Html.escape(row.path("variant").asText()))
          .append("</th><td>")
          .append(row.path("seed").asLong())
          .append("</td>");
      for (String name : names) {
        JsonNode value = row.path("metrics").path(name);
        page.append("<td>")
            .append(value.isNumber() ? String.format(Locale.ROOT, "%.4f", value.asDouble()) : "")
            .append("</td>");
      }
      page.append("</tr>");
    }
    page.append("</tbody></table></div></details>");
  }

  private static String mark(JsonNode row) {
    return row.path("grace").asBoolean()
        ? "own"
        : row.path("source").asText().equals("teacher") ? "top" : "other";
  }

  /** Difference of a layout to the variant that it shares its training with. */
  private void sibling(JsonNode row) {
    if (row.has("sibling")) {
      page.append("<br><small>vs. ")
          .append(Html.escape(row.path("sibling").asText()))
          .append(": ")
          .append(Html.points(row.path("siblingDifference").asDouble()))
          .append(", ")
          .append(Html.points(row.path("siblingDifferenceLow").asDouble()))
          .append(" to ")
          .append(Html.points(row.path("siblingDifferenceHigh").asDouble()))
          .append("</small>");
    }
  }
}
