package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.plan.StartSettings;
import io.gracebeam.pipelines.run.DemoData;
import io.gracebeam.pipelines.run.Run;
import io.gracebeam.pipelines.run.RunBackend;
import io.gracebeam.pipelines.run.RunFolder;
import io.gracebeam.pipelines.run.WorkerSet;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.Recipe;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code grace demo}: the whole loop on drawn shapes or given photos. */
@Command(
    name = "demo",
    description = "The whole loop: data, teacher, student, 4-bit students, answers, report.",
    mixinStandardHelpOptions = true)
final class DemoCommand implements Callable<Integer> {
  @Option(
      names = "--images",
      paramLabel = "DIR|ZIP",
      description = "Photos for training, a folder per class.")
  Optional<Path> images = Optional.empty();

  @Option(
      names = "--test-images",
      paramLabel = "DIR|ZIP",
      description = "Photos for the questions.")
  Optional<Path> testImages = Optional.empty();

  @Option(names = "--seeds", paramLabel = "N", description = "How many seeds train; 1 by default.")
  int seeds = 1;

  @Option(
      names = "--independent",
      description = "Each seed makes its own teacher and student, not the first for all.")
  boolean independent;

  @Option(names = "--quick", description = "Small: drawn shapes, a few minutes on two cores.")
  boolean quick;

  @Option(
      names = "--recipe",
      paramLabel = "FILE",
      description = "Another recipe than the built-in one.")
  Optional<Path> recipe = Optional.empty();

  @Option(
      names = "--start",
      paramLabel = "FILE",
      description = "Other data and checkpoint settings.")
  Optional<Path> start = Optional.empty();

  @Option(names = "--out", paramLabel = "DIR", description = "Run folder; by default runs/NAME.")
  Optional<Path> out = Optional.empty();

  @Mixin RunOptions options;
  @Spec CommandSpec spec;

  @Override
  public Integer call() throws IOException {
    if (seeds < 1 || seeds > 1000) {
      throw GraceException.user("--seeds is %d; allowed: 1 to 1000", seeds);
    }
    RunBackend backend = options.backend();
    String name = quick || images.isEmpty() ? "quick" : "photos";
    String made = startText(name + ".start.yaml");
    StartSettings settings =
        StartSettings.parse(made, start.map(Path::toString).orElse(name + ".start.yaml"));
    Recipe read =
        recipe.isPresent()
            ? RecipeReader.read(recipe.get())
            : RecipeReader.parse(resource(name + ".yaml"), name + ".yaml");
    Recipe.Builder many = read.toBuilder();
    if (recipe.isEmpty() || seeds > 1) {
      many.clearSeeds();
      for (long seed = 0; seed < seeds; seed++) {
        many.addSeeds(seed);
      }
    }
    Recipe resolved = RecipeReader.resolve(many.build());
    Path folder = out.orElse(Path.of("runs", resolved.getName()));
    try (RunFolder run = options.folder(folder)) {
      run.write("start.yaml", made);
      DemoData data = new DemoData(ArtifactStore.open(run.store()), settings, images, testImages);
      Run whole = new Run(run, resolved, Optional.of(settings), Optional.of(data));
      try (WorkerSet workers = WorkerSet.open(options.workers, resolved.getEngine())) {
        ObjectNode report =
            whole.execute(workers, backend, options.pipelineOptions(), options.progress());
        options.print(spec.commandLine().getOut(), report, run.root());
      }
    }
    return 0;
  }

  private String startText(String builtIn) throws IOException {
    if (!independent) {
      return start.isPresent() ? text(start.get()) : resource(builtIn);
    }
    if (start.isPresent()) {
      throw GraceException.user(
          "--independent changes the built-in settings, and --start names others; allowed:"
              + " teacher_per_seed and student_per_seed there");
    }
    return "teacher_per_seed: true\nstudent_per_seed: true\n"
        + resource(builtIn).replaceAll("(?m)^(teacher|student)_per_seed: .*\n", "");
  }

  private static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw GraceException.user("%s: cannot be read", file).withCause(e);
    }
  }

  private static String resource(String name) throws IOException {
    try (InputStream in = DemoCommand.class.getResourceAsStream("/recipes/" + name)) {
      if (in == null) {
        throw GraceException.bug("built-in recipe %s is missing", name);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
