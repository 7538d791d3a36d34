package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.pipelines.run.Progress;
import io.gracebeam.pipelines.run.RunBackend;
import io.gracebeam.pipelines.run.RunFolder;
import io.gracebeam.proto.artifact.Artifacts;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import picocli.CommandLine.Option;

/** Options that everything that runs a pipeline shares. */
final class RunOptions {
  @Option(
      names = "--workers",
      split = ",",
      paramLabel = "HOST:PORT",
      description = "Workers; without it one is started inside this process.")
  List<String> workers = List.of();

  @Option(names = "--json", description = "Print report.json instead of a table.")
  boolean json;

  @Option(
      names = "--beam",
      paramLabel = "--OPTION=VALUE",
      description = "An option for the Beam runner; may be repeated (DirectRunner by default).")
  List<String> beam = List.of();

  @Option(
      names = "--backend",
      paramLabel = "NAME",
      description = "Where the pipeline is executed; direct by default: from this process.")
  String backend = "direct";

  @Option(
      names = "--store",
      paramLabel = "DIR|URI",
      description = "Artifact store; by default the folder store of the run folder.")
  Optional<String> store = Optional.empty();

  /** The run folder, with the store that is asked for. */
  RunFolder folder(Path folder) {
    return RunFolder.open(folder, store.map(text -> Artifacts.uriOrPath("--store", text)));
  }

  RunBackend backend() {
    return RunBackend.named(backend);
  }

  PipelineOptions pipelineOptions() {
    return PipelineOptionsFactory.fromArgs(beam.toArray(String[]::new)).withValidation().create();
  }

  Progress progress() {
    return new Progress(System.err, Boolean.getBoolean("grace.tty"), json);
  }

  /** The accuracy table on a terminal, or the report as JSON. */
  void print(PrintWriter out, JsonNode report, Path folder) {
    if (json) {
      out.print(ReportFiles.text(report));
      out.flush();
      return;
    }
    out.println(
        String.format(
            Locale.ROOT,
            "%-18s %5s %10s %18s %22s",
            "variant",
            "bits",
            "accuracy",
            "95 % interval",
            "difference to " + report.path("baseline").asText("baseline")));
    for (JsonNode row : report.path("table")) {
      if (!row.path("benchmark").asText().equals("all")) {
        continue;
      }
      String interval =
          String.format(
              Locale.ROOT,
              "%.1f to %.1f",
              100 * row.path("low").asDouble(),
              100 * row.path("high").asDouble());
      String difference = difference(row, "difference");
      String sibling =
          row.has("sibling")
              ? "  beside "
                  + row.path("sibling").asText()
                  + ": "
                  + difference(row, "siblingDifference")
              : "";
      out.println(
          String.format(
                  Locale.ROOT,
                  "%-18s %5d %9.1f%% %18s %22s",
                  row.path("variant").asText(),
                  row.path("bits").asInt(),
                  100 * row.path("accuracy").asDouble(),
                  interval,
                  difference)
              + sibling);
    }
    int cached = 0;
    for (JsonNode artifact : report.path("artifacts")) {
      cached += artifact.path("cached").asBoolean() ? 1 : 0;
    }
    out.println(
        String.format(
            Locale.ROOT,
            "%d artifacts, %d of them cached; %.1f s; %d entries in the ledger",
            report.path("artifacts").size(),
            cached,
            report.path("timings").path("wallSeconds").asDouble(),
            report.path("ledger").size()));
    out.println("report: " + folder.resolve(ReportFiles.HTML));
    out.flush();
  }

  private static String difference(JsonNode row, String key) {
    return row.has(key)
        ? String.format(
            Locale.ROOT,
            "%+.1f (%+.1f to %+.1f)",
            100 * row.path(key).asDouble(),
            100 * row.path(key + "Low").asDouble(),
            100 * row.path(key + "High").asDouble())
        : "";
  }
}
