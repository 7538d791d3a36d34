package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.pipelines.plan.StartSettings;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeMap;
import org.apache.beam.sdk.options.PipelineOptions;

/** One run of a recipe in a run folder: plans, runs the pipeline, writes the report. */
public final class Run {
  private static final String DEAD_LETTERS = "dead-letters.tsv";

  private final RunFolder folder;
  private final Recipe recipe;
  private final Optional<StartSettings> start;
  private final Map<String, ArtifactRef> given = new TreeMap<>();
  private final List<ReportInput.Stage> local = new ArrayList<>();
  private final Optional<ShownPhoto> photo;
  private final RunPlan plan;

  /**
   * Prepares a run: reads the data's sizes and plans.
   *
   * @param recipe resolved; for a demonstration its folders are placeholders
   * @param demo how the demonstration makes data and checkpoints; empty for a recipe that names its
   *     own
   * @param data makes the demonstration's data; empty likewise
   */
  public Run(
      RunFolder folder, Recipe recipe, Optional<StartSettings> demo, Optional<DemoData> data) {
    this.folder = folder;
    this.start = demo;
    Path dataset;
    if (data.isPresent()) {
      DemoData.Made student = data.get().student();
      DemoData.Made teacher = data.get().teacher();
      dataset = Artifacts.fetch(student.manifest().getArtifact());
      given.put(RunPlan.DATASET, student.manifest().getArtifact());
      given.put(RunPlan.TEACHER_DATASET, teacher.manifest().getArtifact());
      local.add(
          new ReportInput.Stage(
              "data/student",
              "data",
              student.manifest(),
              student.cached(),
              0,
              student.seconds(),
              0));
      if (!demo.orElseThrow().oneDataset()) {
        local.add(
            new ReportInput.Stage(
                "data/teacher",
                "data",
                teacher.manifest(),
                teacher.cached(),
                0,
                teacher.seconds(),
                0));
      }
    } else {
      dataset = folderOf("data.train", recipe.getData().getTrain());
      given.put(RunPlan.DATASET, Artifacts.given("dataset", dataset));
      given.put(
          RunPlan.STUDENT,
          Artifacts.given("model", folderOf("models.student", recipe.getModels().getStudent())));
      if (!recipe.getModels().getTeacher().isEmpty()) {
        given.put(
            RunPlan.TEACHER,
            Artifacts.given("model", folderOf("models.teacher", recipe.getModels().getTeacher())));
      }
    }
    this.recipe = recipe;
    JsonNode train = train(dataset);
    int most = recipe.getData().getMaxExamples();
    int examples = most > 0 ? Math.min(most, train.size()) : train.size();
    this.photo = ShownPhoto.find(dataset, train, examples);
    OptionalInt shown = photo.stream().mapToInt(ShownPhoto::example).findFirst();
    Map<String, RunPlan.Asked> questions = new LinkedHashMap<>();
    Path benchmarks = folder.root().resolve("benchmarks");
    for (io.gracebeam.proto.v1.Benchmark spec : recipe.getData().getBenchmarksList()) {
      Questionnaire questionnaire =
          Questionnaire.open(spec, recipe.getEvaluation(), dataset, benchmarks.resolve("images"));
      Path own = benchmarks.resolve("questions").resolve(spec.getName());
      given.put(RunPlan.QUESTIONS + spec.getName(), questionnaire.write(own));
      questionnaire
          .images()
          .ifPresent(images -> given.put(RunPlan.BENCHMARK + spec.getName(), images));
      questions.put(spec.getName(), questionnaire.asked());
    }
    this.plan = RunPlan.of(recipe, new RunPlan.Sizes(examples, questions, shown), start);
  }

  /** The plan. */
  public RunPlan plan() {
    return plan;
  }

  /** What the run would do. */
  public Map<String, Forecast.Fate> forecast(WorkerSet workers) {
    return Forecast.of(plan, workers.engine().digest(), given, folder.store());
  }

  /**
   * Runs it and writes everything that a run leaves. A run in which a stage failed leaves its
   * ledger and the finished stages, but no report.
   *
   * @param backend executes the pipeline
   * @param options of the pipeline
   * @return content of {@code report.json}
   * @throws GraceException with the category of what went wrong; for a failed stage (data) with the
   *     reason of the earliest one
   */
  public ObjectNode execute(
      WorkerSet workers, RunBackend backend, PipelineOptions options, Progress progress) {
    folder.write("recipe.resolved.yaml", RecipeReader.toYaml(recipe));
    long begun = System.nanoTime();
    ArtifactStore store = ArtifactStore.open(folder.store());
    given.replaceAll((name, ref) -> store.reachable(ref));
    RunPipeline stages = new RunPipeline(workers.workers(), given, folder.store());
    SubmittedRun.Results results;
    try {
      SubmittedRun submitted =
          backend.submit(
              new RunBackend.Job(
                  pipeline -> stages.expand(pipeline, plan.waves()),
                  options,
                  folder.freshResults()));
      try (Progress.Watch watch = progress.watch(submitted, plan.stages().size())) {
        results = submitted.results();
      }
    } catch (RuntimeException e) {
      throw cause(e);
    }
    double wall = (System.nanoTime() - begun) / 1e9;
    List<ReportInput.Stage> ended = new ArrayList<>(local);
    for (PlannedStage planned : plan.stages()) {
      StageResult result = results.finished().get(planned.id());
      if (result != null) {
        ended.add(
            new ReportInput.Stage(
                planned.id(),
                planned.kind().name(),
                result.manifest(),
                result.getCached(),
                result.getWorkerSeconds(),
                result.getWallSeconds(),
                result.getEndMillis()));
      }
    }
    List<Map<String, Object>> ledger = new ArrayList<>();
    for (DeadLetter refused : results.refused()) {
      Map<String, Object> row = new LinkedHashMap<>();
      row.put("stage", refused.getStage());
      row.put("task", refused.getTaskId());
      row.put("id", refused.getId());
      row.put("reason", refused.getReason());
      ledger.add(row);
    }
    ledger.addAll(photoLedger());
    folder.writeLines("ledger.jsonl", ledger);
    folder.writeLines("stages.jsonl", ended.stream().map(ReportInput.Stage::row).toList());
    failure(plan, results.refused(), results.finished().keySet())
        .ifPresent(
            reason -> {
              throw GraceException.data(
                  "%s; all reasons are in %s", reason, folder.root().resolve("ledger.jsonl"));
            });
    ObjectNode report =
        new ReportBuilder(
                recipe, plan, new ReportInput(ended, ledger, wall, workers.count(), photo))
            .build();
    ReportFiles.write(folder::write, report);
    return report;
  }

  /**
   * Why a run has no whole result: the reason of the earliest stage that was refused as a whole. A
   * refused example or question alone is no failure, and stages that miss an input only follow.
   */
  static Optional<String> failure(RunPlan plan, List<DeadLetter> letters, Set<String> finished) {
    Map<String, String> reasons = new HashMap<>();
    for (DeadLetter letter : letters) {
      if (letter.getId().equals(letter.getTaskId()) && !finished.contains(letter.getTaskId())) {
        reasons.put(letter.getTaskId(), letter.getReason());
      }
    }
    for (PlannedStage stage : plan.stages()) {
      String reason = reasons.get(stage.id());
      if (reason != null) {
        String line = reason.startsWith(stage.id()) ? reason : stage.id() + ": " + reason;
        int others = reasons.size() - 1;
        return Optional.of(
            others == 0 ? line : line + " (and " + others + " other stages have no result)");
      }
    }
    return Optional.empty();
  }

  /** Photos that the grid builder refused, one file each. */
  private List<Map<String, Object>> photoLedger() {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (ReportInput.Stage stage : local) {
      ArtifactRef made = stage.manifest().getArtifact();
      if (!Artifacts.holds(made, DEAD_LETTERS)) {
        continue;
      }
      Path letters = Artifacts.fetch(made, DEAD_LETTERS);
      try {
        for (String line : Files.readAllLines(letters)) {
          String[] parts = line.split("\t", 2);
          Map<String, Object> row = new LinkedHashMap<>();
          row.put("stage", "data");
          row.put("task", stage.id());
          row.put("id", parts[0]);
          row.put("reason", parts.length > 1 ? parts[1] : "");
          rows.add(row);
        }
      } catch (IOException e) {
        throw GraceException.environment("%s: cannot be read: %s", letters, e.getMessage())
            .withCause(e);
      }
    }
    return rows;
  }

  /** The error that a person can act on, wherever the runner wrapped it. */
  static GraceException cause(RuntimeException error) {
    for (Throwable t = error; t != null; t = t.getCause()) {
      if (t instanceof GraceException grace) {
        return grace;
      }
    }
    Throwable root = error;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    return GraceException.bug("the pipeline failed: %s", String.valueOf(root)).withCause(error);
  }

  private static Path folderOf(String key, String value) {
    Path path = Path.of(value);
    if (!Files.isDirectory(path)) {
      throw GraceException.user("%s: '%s' is no folder", key, value);
    }
    return path.toAbsolutePath().normalize();
  }

  private static JsonNode train(Path dataset) {
    Path train = dataset.resolve("train.json");
    try {
      JsonNode examples = new ObjectMapper().readTree(train.toFile());
      if (examples.isEmpty()) {
        throw GraceException.data("%s: holds no example", train);
      }
      return examples;
    } catch (IOException e) {
      throw GraceException.data(
              "%s: is missing or no JSON list: %s", train, e.getClass().getSimpleName())
          .withCause(e);
    }
  }
}
