package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.pipelines.run.RunFolder;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code grace report}: draws the page of a finished run again and prints its table. */
@Command(
    name = "report",
    description = "Draws report.html of a run again and prints its table.",
    mixinStandardHelpOptions = true)
final class ReportCommand implements Callable<Integer> {
  @Parameters(paramLabel = "RUN", description = "Run folder.")
  Path run;

  @Option(names = "--json", description = "Print report.json.")
  boolean json;

  @Spec CommandSpec spec;

  @Override
  public Integer call() {
    JsonNode report = ReportFiles.read(run);
    try (RunFolder folder = RunFolder.open(run)) {
      ReportFiles.write(folder::write, report);
      RunOptions options = new RunOptions();
      options.json = json;
      options.print(spec.commandLine().getOut(), report, folder.root());
    }
    return 0;
  }
}
