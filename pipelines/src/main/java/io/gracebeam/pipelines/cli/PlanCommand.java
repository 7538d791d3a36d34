package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.pipelines.run.Forecast;
import io.gracebeam.pipelines.run.Run;
import io.gracebeam.pipelines.run.RunFolder;
import io.gracebeam.pipelines.run.WorkerSet;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.Recipe;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code grace plan}: what {@code grace run} would do, stage by stage. */
@Command(
    name = "plan",
    description = "Shows for each stage of a recipe: cached, run, or run after another stage.",
    mixinStandardHelpOptions = true)
final class PlanCommand implements Callable<Integer> {
  @Parameters(paramLabel = "RECIPE", description = "YAML file.")
  Path recipe;

  @Option(names = "--out", paramLabel = "DIR", description = "Run folder; by default runs/NAME.")
  Optional<Path> out = Optional.empty();

  @Mixin RunOptions options;
  @Spec CommandSpec spec;

  @Override
  public Integer call() {
    Recipe resolved = RecipeReader.resolve(RecipeReader.read(recipe));
    try (RunFolder folder = RunFolder.open(out.orElse(Path.of("runs", resolved.getName())));
        WorkerSet workers = WorkerSet.open(options.workers, resolved.getEngine())) {
      Run run = new Run(folder, resolved, Optional.empty(), Optional.empty());
      print(run.forecast(workers));
    }
    return 0;
  }

  private void print(Map<String, Forecast.Fate> fates) {
    PrintWriter out = spec.commandLine().getOut();
    if (options.json) {
      ArrayNode rows = new ObjectMapper().createArrayNode();
      fates.forEach((id, fate) -> rows.addObject().put("stage", id).put("fate", name(fate)));
      out.print(ReportFiles.text(rows));
    } else {
      fates.forEach(
          (id, fate) -> out.println(String.format(Locale.ROOT, "%-10s %s", name(fate), id)));
      long cached = fates.values().stream().filter(f -> f == Forecast.Fate.CACHED).count();
      out.println(cached + " of " + fates.size() + " stages are cached");
    }
    out.flush();
  }

  private static String name(Forecast.Fate fate) {
    return fate.name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
