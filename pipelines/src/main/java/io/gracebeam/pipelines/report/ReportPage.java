package io.gracebeam.pipelines.report;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** Renders {@code report.json} as one page that needs no network, no script and no other file. */
final class ReportPage {
  private static final Map<String, String> CURVES =
      Map.of(
          "ce", "cross-entropy",
          "gdkd", "gated decoupled distillation",
          "rcka", "relational CKA loss",
          "beta", "β",
          "ema", "moving average of the distillation loss",
          "total", "total loss",
          "lr", "learning rate");

  private final JsonNode report;
  private final StringBuilder page = new StringBuilder(1 << 16);

  private ReportPage(JsonNode report) {
    this.report = report;
  }

  /**
   * The page of a report.
   *
   * @param report content of {@code report.json}; sections that it lacks are left out
   */
  static String render(JsonNode report) {
    return new ReportPage(report).build();
  }

  private String build() {
    String name = report.path("name").asText("run");
    page.append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
        .append("<title>grace-beam: ")
        .append(Html.escape(name))
        .append("</title>\n<style>")
        .append(ReportStyle.CSS)
        .append("</style></head><body><main>\n<header><p class=\"kicker\">grace-beam run</p><h1>")
        .append(Html.escape(name))
        .append("</h1>");
    AccuracySection accuracy = new AccuracySection(report, page);
    accuracy.headline();
    page.append("</header>\n");
    accuracy.table();
    curves();
    gate();
    gram();
    sizes();
    timings();
    ledger();
    artifacts();
    recipe();
    return page.append("</main></body></html>\n").toString();
  }

  private void curves() {
    JsonNode curves = report.path("curves");
    if (curves.isEmpty()) {
      return;
    }
    Html.section(
        page,
        "Losses and β over time",
        "One line per trained variant and seed. β weighs distillation; the controller moves it.");
    Set<String> series = new LinkedHashSet<>();
    for (JsonNode run : curves) {
      run.path("series").fieldNames().forEachRemaining(series::add);
    }
    page.append("<div class=\"curves\">");
    for (String name : series) {
      List<Charts.Line> lines = new ArrayList<>();
      for (JsonNode run : curves) {
        double[] y = numbers(run.path("series").path(name));
        if (y.length > 0) {
          lines.add(
              new Charts.Line(
                  run.path("variant").asText() + ", seed " + run.path("seed").asText(),
                  numbers(run.path("step")),
                  y));
        }
      }
      lines.removeIf(line -> line.x().length != line.y().length);
      String title = CURVES.getOrDefault(name, name);
      page.append("<div><h3>")
          .append(Html.escape(title))
          .append("</h3>")
          .append(Charts.lines(title, "step", lines))
          .append("</div>");
    }
    page.append("</div></section>\n");
  }

  private void gate() {
    JsonNode gate = report.path("gate");
    if (gate.isEmpty()) {
      return;
    }
    Html.section(
        page,
        "Teacher entropy against teacher error",
        "The gate trusts the teacher where its entropy is low. That pays only if entropy tells"
            + " error: the bars should rise.");
    page.append("<dl class=\"facts\">");
    fact("Pearson r", gate.path("pearsonR"));
    fact("binned R²", gate.path("binnedR2"));
    fact("calibration error", gate.path("calibrationError"));
    fact("tokens", gate.path("tokens"));
    page.append("</dl>");
    JsonNode bins = gate.path("bins");
    String[] labels = new String[bins.size()];
    String[] notes = new String[bins.size()];
    double[] heights = new double[bins.size()];
    for (int i = 0; i < bins.size(); i++) {
      JsonNode bin = bins.get(i);
      labels[i] = String.format(Locale.ROOT, "%.2f", bin.path("entropy").asDouble());
      heights[i] = bin.path("error").asDouble();
      notes[i] =
          String.format(
              Locale.ROOT,
              "%d tokens, mean entropy %.3f nats, error %.1f %%",
              bin.path("count").asLong(),
              bin.path("entropy").asDouble(),
              100 * heights[i]);
    }
    if (bins.size() > 0) {
      page.append(Charts.bars("Error by entropy bin", "entropy, nats", labels, heights, notes));
    }
    table(gate.path("types"), "question type");
    page.append("</section>\n");
  }

  private void gram() {
    JsonNode gram = report.path("gram");
    if (gram.path("maps").isEmpty()) {
      return;
    }
    Html.section(
        page,
        "What relates to what in the picture",
        "Centered Gram matrices of the visual tokens in the penultimate decoder block: red alike,"
            + " blue unlike. RCKA draws the student's map to the teacher's.");
    page.append("<div class=\"maps\">");
    if (gram.path("photo").asText().startsWith("data:image/")) {
      page.append("<figure><img alt=\"the photo\" src=\"")
          .append(Html.escape(gram.path("photo").asText()))
          .append("\"><figcaption>photo</figcaption></figure>");
    }
    for (JsonNode map : gram.path("maps")) {
      int n = map.path("n").asInt();
      double[] values = numbers(map.path("values"));
      if (n > 0 && values.length == n * n) {
        page.append("<figure><img alt=\"Gram matrix\" src=\"")
            .append(Charts.heatMap(values, n))
            .append("\"><figcaption>")
            .append(Html.escape(caption(map)))
            .append("</figcaption></figure>");
      }
    }
    page.append("</div></section>\n");
  }

  private static String caption(JsonNode map) {
    String caption = map.path("name").asText();
    if (map.has("bits")) {
      caption += ", " + map.path("bits").asInt() + " bit";
    }
    if (map.has("alignment")) {
      caption +=
          String.format(
              Locale.ROOT, ", alignment with the teacher %.3f", map.path("alignment").asDouble());
    }
    if (map.path("tokens").asInt() > map.path("n").asInt()) {
      caption += ", " + map.path("tokens").asInt() + " tokens in means";
    }
    return caption;
  }

  private void sizes() {
    if (report.path("sizes").isEmpty()) {
      return;
    }
    Html.section(page, "Sizes", "");
    page.append(
        "<div class=\"scroll\"><table><thead><tr><th>model</th><th>seed</th><th>bytes</th></tr></thead><tbody>");
    for (JsonNode row : report.path("sizes")) {
      page.append("<tr><th>")
          .append(Html.escape(row.path("variant").asText()))
          .append("</th><td>")
          .append(row.path("seed").asLong())
          .append("</td><td>")
          .append(Html.bytes(row.path("bytes").asDouble()))
          .append("</td></tr>");
    }
    page.append("</tbody></table></div>");
    JsonNode signals = report.path("signals");
    if (!signals.isEmpty()) {
      page.append("<dl class=\"facts\">");
      signals.fields().forEachRemaining(e -> fact(words(e.getKey()), e.getValue()));
      page.append("</dl>");
    }
    page.append("</section>\n");
  }

  private void timings() {
    JsonNode timings = report.path("timings");
    if (timings.isEmpty()) {
      return;
    }
    Html.section(
        page,
        "Timings",
        "Wall time of the pipeline against the workers' own compute time; cached stages cost"
            + " neither.");
    page.append("<dl class=\"facts\"><dt>wall</dt><dd>")
        .append(Html.seconds(timings.path("wallSeconds").asDouble()))
        .append("</dd><dt>workers</dt><dd>")
        .append(Html.seconds(timings.path("workerSeconds").asDouble()))
        .append("</dd>");
    if (timings.path("ratio").isNumber()) {
      fact("wall / time that workers computed", timings.path("ratio"));
    }
    page.append(
        "</dl><div"
            + " class=\"scroll\"><table><thead><tr><th>stage</th><th>tasks</th><th>cached</th><th>wall,"
            + " summed</th><th>worker</th></tr></thead><tbody>");
    for (JsonNode row : timings.path("stages")) {
      page.append("<tr><th>")
          .append(Html.escape(row.path("stage").asText()))
          .append("</th><td>")
          .append(row.path("tasks").asInt())
          .append("</td><td>")
          .append(row.path("cached").asInt())
          .append("</td><td>")
          .append(Html.seconds(row.path("wallSeconds").asDouble()))
          .append("</td><td>")
          .append(Html.seconds(row.path("workerSeconds").asDouble()))
          .append("</td></tr>");
    }
    page.append("</tbody></table></div></section>\n");
  }

  private void ledger() {
    Html.section(page, "Ledger", "");
    JsonNode ledger = report.path("ledger");
    if (ledger.isEmpty()) {
      page.append("<p>Nothing was refused, skipped or left out.</p></section>\n");
      return;
    }
    table(ledger, "");
    page.append("</section>\n");
  }

  private void artifacts() {
    Html.section(page, "Artifacts", "");
    page.append("<details><summary>")
        .append(report.path("artifacts").size())
        .append(" artifacts, by SHA-256</summary>");
    table(report.path("artifacts"), "");
    page.append("</details></section>\n");
  }

  private void recipe() {
    if (report.path("recipe").asText().isEmpty()) {
      return;
    }
    Html.section(page, "Recipe", "");
    page.append("<details><summary>as it ran, every default filled in</summary><pre>")
        .append(Html.escape(report.path("recipe").asText()))
        .append("</pre></details></section>\n");
  }

  /** A table of an array of objects: its columns are the keys, in order of appearance. */
  private void table(JsonNode rows, String firstName) {
    Set<String> columns = new LinkedHashSet<>();
    for (JsonNode row : rows) {
      row.fieldNames().forEachRemaining(columns::add);
    }
    if (columns.isEmpty()) {
      return;
    }
    page.append("<div class=\"scroll\"><table><thead><tr>");
    boolean first = true;
    for (String column : columns) {
      page.append("<th>")
          .append(Html.escape(first && !firstName.isEmpty() ? firstName : words(column)))
          .append("</th>");
      first = false;
    }
    page.append("</tr></thead><tbody>");
    for (JsonNode row : rows) {
      page.append("<tr>");
      for (String column : columns) {
        page.append("<td>").append(cell(row.path(column), column)).append("</td>");
      }
      page.append("</tr>");
    }
    page.append("</tbody></table></div>");
  }

  private static String cell(JsonNode value, String column) {
    if (column.equals("sha256")) {
      String text = value.asText();
      return "<code title=\""
          + Html.escape(text)
          + "\">"
          + Html.escape(text.substring(0, Math.min(12, text.length())))
          + "</code>";
    }
    if (column.equals("bytes")) {
      return Html.bytes(value.asDouble());
    }
    if (value.isFloatingPointNumber()) {
      return String.format(Locale.ROOT, "%.4f", value.asDouble());
    }
    return Html.escape(value.isMissingNode() || value.isNull() ? "" : value.asText());
  }

  private void fact(String name, JsonNode value) {
    if (value.isMissingNode() || value.isNull()) {
      return;
    }
    page.append("<dt>")
        .append(Html.escape(name))
        .append("</dt><dd>")
        .append(cell(value, ""))
        .append("</dd>");
  }

  /** {@code bytesPerToken} becomes {@code bytes per token}. */
  private static String words(String key) {
    return key.replaceAll("([a-z0-9])([A-Z])", "$1 $2").toLowerCase(Locale.ROOT);
  }

  private static double[] numbers(JsonNode array) {
    double[] values = new double[array.size()];
    Iterator<JsonNode> each = array.elements();
    for (int i = 0; i < values.length; i++) {
      JsonNode value = each.next();
      values[i] = value.isNumber() ? value.asDouble() : Double.NaN;
    }
    return values;
  }

  /**
   * Keys that differ between two correct runs: everything else of {@code report.json} is the same.
   */
  static Map<String, String> volatileKeys() {
    return Map.of(
        "timings", "wall and worker time", "artifacts[].cached", "whether the store had it");
  }
}
