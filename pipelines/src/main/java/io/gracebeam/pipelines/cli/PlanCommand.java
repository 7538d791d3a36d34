package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.pipelines.run.Forecast;
import io.gracebeam.pipelines.run.Run;
import io.gracebeam.pipelines.run.RunFolder;
import io.gracebeam.pipelines.run.WorkerSet;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.worker.MemoryPlanner;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * {@code grace plan}: what {@code grace run} would do, stage by stage, and the memory that layouts
 * of a model need for decoding.
 */
@Command(
    name = "plan",
    description =
        "Shows for each stage of a recipe: cached, run, or run after another stage; and the memory"
            + " of its student, or of another model, by what of it is quantized.",
    mixinStandardHelpOptions = true)
final class PlanCommand implements Callable<Integer> {
  @ArgGroup(multiplicity = "1")
  Subject subject;

  /** What is planned: one of them. */
  static final class Subject {
    @Parameters(paramLabel = "RECIPE", description = "YAML file.")
    Optional<Path> recipe = Optional.empty();

    @Option(
        names = "--model",
        paramLabel = "DIR",
        description = "Memory alone, by the config.json of a model folder.")
    Optional<Path> model = Optional.empty();

    @Option(
        names = "--shape",
        paramLabel = "NAME",
        description = "Memory alone, of a published model: llava-1.5-7b or qwen2-vl-2b.")
    Optional<String> shape = Optional.empty();
  }

  @Option(
      names = "--positions",
      paramLabel = "N",
      description = "Tokens of prompt and answer that the cache holds; 2048 by default.")
  int positions = 2048;

  @Option(
      names = "--bits",
      paramLabel = "N",
      description = "Bits of the decoder's weights with --model and --shape; 4 by default.")
  int bits = 4;

  @Option(
      names = "--group-size",
      paramLabel = "N",
      description = "Weights per scale with --model and --shape, -1: a row; 128 by default.")
  int groupSize = 128;

  @Option(names = "--out", paramLabel = "DIR", description = "Run folder; by default runs/NAME.")
  Optional<Path> out = Optional.empty();

  @Mixin RunOptions options;
  @Spec CommandSpec spec;

  @Override
  public Integer call() {
    ArrayNode rows = new ObjectMapper().createArrayNode();
    if (subject.recipe.isPresent()) {
      recipe(subject.recipe.get(), rows);
    } else {
      if (!List.of(2, 3, 4, 8).contains(bits)) {
        throw GraceException.user("--bits is %d; allowed: 2, 3, 4, 8", bits);
      }
      MemoryPlanner planner = planner();
      MemoryPlanner.Question question = new MemoryPlanner.Question(bits, groupSize, positions);
      memory(
          subject.model.isPresent()
              ? planner.ofModel(subject.model.get(), question)
              : planner.ofShape(subject.shape.orElseThrow(), question),
          rows);
    }
    if (options.json) {
      spec.commandLine().getOut().print(ReportFiles.text(rows));
    }
    spec.commandLine().getOut().flush();
    return 0;
  }

  private void recipe(Path file, ArrayNode rows) {
    Recipe resolved = RecipeReader.resolve(RecipeReader.read(file));
    try (RunFolder folder = options.folder(out.orElse(Path.of("runs", resolved.getName())));
        WorkerSet workers = WorkerSet.open(options.workers, resolved.getEngine())) {
      Run run = new Run(folder, resolved, Optional.empty(), Optional.empty());
      stages(run.forecast(workers), rows);
    }
    Quantization q = resolved.getQuantization();
    MemoryPlanner.Question question =
        new MemoryPlanner.Question(
            q.getBits(), q.getPerTensor() ? -1 : q.getGroupSize(), positions);
    memory(planner().ofModel(Path.of(resolved.getModels().getStudent()), question), rows);
  }

  private static MemoryPlanner planner() {
    return MemoryPlanner.find()
        .orElseThrow(
            () ->
                GraceException.environment(
                    "the worker is not on the class path, or this JVM is older than 25"));
  }

  private void stages(Map<String, Forecast.Fate> fates, ArrayNode rows) {
    PrintWriter out = spec.commandLine().getOut();
    fates.forEach(
        (id, fate) -> {
          rows.addObject().put("stage", id).put("fate", name(fate));
          if (!options.json) {
            out.println(String.format(Locale.ROOT, "%-10s %s", name(fate), id));
          }
        });
    if (!options.json) {
      long cached = fates.values().stream().filter(f -> f == Forecast.Fate.CACHED).count();
      out.println(cached + " of " + fates.size() + " stages are cached");
    }
  }

  /** Megabytes of weights, cache, scratch space and their sum, compared with the first layout. */
  private void memory(List<MemoryPlanner.Row> layouts, ArrayNode rows) {
    PrintWriter out = spec.commandLine().getOut();
    double first = layouts.get(0).peak();
    if (!options.json) {
      out.println(
          String.format(
              Locale.ROOT,
              "%-36s %12s %12s %12s %12s",
              "memory in MB, " + positions + " positions",
              "weights",
              "cache",
              "scratch",
              "peak"));
    }
    for (MemoryPlanner.Row row : layouts) {
      rows.addObject()
          .put("layout", row.layout())
          .put("positions", positions)
          .put("weights", row.weights())
          .put("cache", row.cache())
          .put("scratch", row.scratch())
          .put("peak", row.peak())
          .put("ratio", row.peak() / first);
      if (!options.json) {
        out.println(
            String.format(
                Locale.ROOT,
                "%-36s %12.1f %12.1f %12.1f %12.1f  %+.0f %%",
                row.layout(),
                row.weights() / 1e6,
                row.cache() / 1e6,
                row.scratch() / 1e6,
                row.peak() / 1e6,
                100 * (row.peak() / first - 1)));
      }
    }
  }

  private static String name(Forecast.Fate fate) {
    return fate.name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
