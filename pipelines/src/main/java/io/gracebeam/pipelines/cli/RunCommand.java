package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.run.Run;
import io.gracebeam.pipelines.run.RunBackend;
import io.gracebeam.pipelines.run.RunFolder;
import io.gracebeam.pipelines.run.WorkerSet;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.Recipe;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code grace run}: runs a recipe; what the store has is not run again. */
@Command(name = "run", description = "Runs a recipe.", mixinStandardHelpOptions = true)
final class RunCommand implements Callable<Integer> {
  @Parameters(paramLabel = "RECIPE", description = "YAML file.")
  Path recipe;

  @Option(names = "--out", paramLabel = "DIR", description = "Run folder; by default runs/NAME.")
  Optional<Path> out = Optional.empty();

  @Mixin RunOptions options;
  @Spec CommandSpec spec;

  @Override
  public Integer call() {
    RunBackend backend = options.backend();
    Recipe resolved = RecipeReader.resolve(RecipeReader.read(recipe));
    try (RunFolder folder = options.folder(out.orElse(Path.of("runs", resolved.getName())));
        WorkerSet workers = WorkerSet.open(options.workers, resolved.getEngine())) {
      Run run = new Run(folder, resolved, Optional.empty(), Optional.empty());
      ObjectNode report =
          run.execute(workers, backend, options.pipelineOptions(), options.progress());
      options.print(spec.commandLine().getOut(), report, folder.root());
    }
    return 0;
  }
}
