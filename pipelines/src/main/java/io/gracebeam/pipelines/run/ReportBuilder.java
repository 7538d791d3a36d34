package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Benchmark;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.transforms.scoring.Bootstrap;
import io.gracebeam.transforms.scoring.Score;
import io.gracebeam.transforms.scoring.ScoringFiles;
import io.gracebeam.transforms.stages.JoinSignals;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Assembles {@code report.json} from the artifacts of a finished run. */
final class ReportBuilder {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int CURVE_POINTS = 200;
  private static final String WEIGHTS = ".safetensors";
  private static final String CURVES = "curves.json";

  /** Name of the row over all benchmarks. */
  static final String ALL = "all";

  private final Recipe recipe;
  private final RunPlan plan;
  private final ReportInput input;
  private final Map<String, ReportInput.Stage> byId = new HashMap<>();

  ReportBuilder(Recipe recipe, RunPlan plan, ReportInput input) {
    this.recipe = recipe;
    this.plan = plan;
    this.input = input;
    input.stages().forEach(stage -> byId.put(stage.id(), stage));
  }

  ObjectNode build() {
    ObjectNode report = JSON.createObjectNode();
    report.put("format", 1);
    report.put("name", recipe.getName());
    baseline().ifPresent(name -> report.put("baseline", name));
    Map<String, Map<String, List<List<Score.Unit>>>> answers = rows(report.putArray("rows"));
    table(report.putArray("table"), answers);
    gate(report);
    curves(report.putArray("curves"));
    Map<String, Path> folders = new HashMap<>();
    for (RunPlan.Shown shown : plan.shown()) {
      Optional.ofNullable(byId.get(shown.stage()))
          .ifPresent(stage -> folders.put(shown.stage(), Artifacts.fetch(artifact(stage))));
    }
    GramMaps.add(report, plan, folders, input.photo());
    sizes(report.putArray("sizes"));
    signals(report.putObject("signals"));
    ArrayNode artifacts = report.putArray("artifacts");
    for (ReportInput.Stage stage : input.stages()) {
      ObjectNode row = artifacts.addObject();
      row.put("name", stage.id());
      row.put("kind", stage.manifest().getArtifact().getKind());
      row.put("sha256", stage.manifest().getArtifact().getSha256());
      row.put("bytes", stage.manifest().getArtifact().getBytes());
      row.put("stageKey", stage.manifest().getStageKey());
      row.put("cached", stage.cached());
    }
    report.set("ledger", JSON.valueToTree(input.ledger()));
    report.put("recipe", RecipeReader.toYaml(recipe));
    timings(report.putObject("timings"));
    return report;
  }

  /**
   * Fills the rows; gives the scored units by variant, benchmark and seed, in the table's order.
   */
  private Map<String, Map<String, List<List<Score.Unit>>>> rows(ArrayNode rows) {
    Map<String, Map<String, List<List<Score.Unit>>>> all = new LinkedHashMap<>();
    for (RunPlan.Model model : plan.models()) {
      String variant = model.variant().getName();
      Map<String, List<List<Score.Unit>>> mine =
          all.computeIfAbsent(variant, v -> new LinkedHashMap<>());
      List<Score.Unit> together = new ArrayList<>();
      for (Benchmark asked : recipe.getData().getBenchmarksList()) {
        String benchmark = asked.getName();
        Score score =
            ScoringFiles.readScore(Artifacts.fetch(artifact(byId.get(model.score(benchmark)))));
        List<Score.Unit> scored = score.units();
        mine.computeIfAbsent(benchmark, b -> new ArrayList<>()).add(scored);
        for (Score.Unit unit : scored) {
          together.add(
              new Score.Unit(
                  benchmark + "/" + unit.id(), unit.type(), unit.image(), unit.credit()));
        }
        ObjectNode row = rows.addObject();
        row.put("variant", variant);
        row.put("bits", bits(model.variant()));
        row.put("benchmark", benchmark);
        row.put("seed", model.seed());
        counts(row, scored);
        ObjectNode metrics = row.putObject("metrics");
        score.metrics().forEach(metrics::put);
        types(row.putObject("types"), scored);
      }
      mine.computeIfAbsent(ALL, b -> new ArrayList<>()).add(together);
    }
    return all;
  }

  private static void types(ObjectNode node, List<Score.Unit> scored) {
    Map<String, List<Score.Unit>> types = new TreeMap<>();
    for (Score.Unit unit : scored) {
      types.computeIfAbsent(unit.type(), t -> new ArrayList<>()).add(unit);
    }
    types.forEach((type, units) -> counts(node.putObject(type), units));
  }

  /** Scored units, those of full credit, and the sum of all credits. */
  private static void counts(ObjectNode node, List<Score.Unit> units) {
    node.put("n", units.size());
    node.put("correct", units.stream().filter(unit -> unit.credit() == 1).count());
    node.put("credit", units.stream().mapToDouble(Score.Unit::credit).sum());
  }

  private static int bits(Variant variant) {
    return variant.getQuantized() ? variant.getBits() : 16;
  }

  private void table(ArrayNode table, Map<String, Map<String, List<List<Score.Unit>>>> answers) {
    int resamples = Math.max(100, recipe.getEvaluation().getBootstrap());
    Bootstrap bootstrap = new Bootstrap(1, resamples, 0.95);
    List<Variant> variants = recipe.getVariantsList();
    Optional<String> base = baseline();
    Map<String, List<List<Score.Unit>>> baseline = base.map(answers::get).orElse(null);
    answers.forEach(
        (variant, byBenchmark) ->
            byBenchmark.forEach(
                (benchmark, bySeed) -> {
                  if (bySeed.get(0).isEmpty()) {
                    return;
                  }
                  Bootstrap.Interval accuracy = bootstrap.accuracy(bySeed);
                  ObjectNode row = table.addObject();
                  row.put("variant", variant);
                  Variant switches = variant(variant);
                  row.put("bits", bits(switches));
                  row.put("source", switches.getSource());
                  row.put("grace", Variants.grace(switches));
                  row.put("benchmark", benchmark);
                  row.put("questions", accuracy.questions());
                  row.put("seeds", accuracy.seeds());
                  row.put("accuracy", accuracy.mean());
                  row.put("low", accuracy.low());
                  row.put("high", accuracy.high());
                  if (baseline != null && !variant.equals(base.get())) {
                    put(row, "difference", difference(bootstrap, bySeed, baseline.get(benchmark)));
                  }
                  Variants.sibling(switches, variants)
                      .map(Variant::getName)
                      .ifPresent(
                          sibling -> {
                            row.put("sibling", sibling);
                            put(
                                row,
                                "siblingDifference",
                                difference(bootstrap, bySeed, answers.get(sibling).get(benchmark)));
                          });
                }));
  }

  private static void put(ObjectNode row, String key, Bootstrap.Interval difference) {
    row.put(key, difference.mean());
    row.put(key + "Low", difference.low());
    row.put(key + "High", difference.high());
  }

  /** The teacher has one model for all seeds: it stands beside each of the baseline's. */
  private static Bootstrap.Interval difference(
      Bootstrap bootstrap, List<List<Score.Unit>> variant, List<List<Score.Unit>> baseline) {
    List<List<Score.Unit>> mine = new ArrayList<>(variant);
    while (mine.size() < baseline.size()) {
      mine.add(variant.get(0));
    }
    return bootstrap.difference(mine, baseline);
  }

  /** The variant that the others are compared with: the first that evaluates the student as is. */
  private Optional<String> baseline() {
    return recipe.getVariantsList().stream()
        .filter(variant -> variant.getSource().equals("baseline"))
        .map(Variant::getName)
        .findFirst();
  }

  private Variant variant(String name) {
    return recipe.getVariantsList().stream()
        .filter(variant -> variant.getName().equals(name))
        .findFirst()
        .orElseThrow();
  }

  /** The signals that are shown: of the first seed, where each has its own teacher. */
  private String joined() {
    return plan.signals(recipe.getSeeds(0));
  }

  private void gate(ObjectNode report) {
    ReportInput.Stage signals = byId.get(joined());
    report.set(
        "gate",
        signals == null
            ? JSON.createObjectNode()
            : tree(Artifacts.fetch(artifact(signals), JoinSignals.GATE)));
  }

  /**
   * Losses over time of every trained model: means over at most {@value #CURVE_POINTS} stretches of
   * steps.
   */
  private void curves(ArrayNode curves) {
    Set<String> drawn = new HashSet<>();
    for (RunPlan.Model model : plan.models()) {
      ReportInput.Stage stage = model.trained().map(byId::get).orElse(null);
      if (stage == null || !Artifacts.holds(artifact(stage), CURVES) || !drawn.add(stage.id())) {
        continue; // variants of one layout each share the trained model
      }
      JsonNode steps = tree(Artifacts.fetch(artifact(stage), CURVES));
      ObjectNode run = curves.addObject();
      run.put("variant", model.variant().getName());
      run.put("seed", model.seed());
      int stretch = Math.max(1, (steps.size() + CURVE_POINTS - 1) / CURVE_POINTS);
      ArrayNode at = run.putArray("step");
      ObjectNode series = run.putObject("series");
      TreeMap<String, Boolean> names = new TreeMap<>();
      steps.forEach(step -> step.fieldNames().forEachRemaining(name -> names.put(name, true)));
      names.remove("step");
      for (int from = 0; from < steps.size(); from += stretch) {
        at.add(steps.get(from).path("step").asInt(from));
        for (String name : names.keySet()) {
          double sum = 0;
          int count = 0;
          for (int i = from; i < Math.min(steps.size(), from + stretch); i++) {
            JsonNode value = steps.get(i).path(name);
            if (value.isNumber()) {
              sum += value.asDouble();
              count++;
            }
          }
          ArrayNode values = series.withArray("/" + name.replace("~", "~0").replace("/", "~1"));
          if (count == 0) {
            values.addNull();
          } else {
            values.add(sum / count);
          }
        }
      }
    }
  }

  private void sizes(ArrayNode sizes) {
    for (RunPlan.Model model : plan.models()) {
      Optional<ArtifactRef> made =
          Optional.ofNullable(byId.get(model.model())).map(ReportBuilder::artifact);
      Path given =
          Path.of(
              model.model().equals(RunPlan.TEACHER)
                  ? recipe.getModels().getTeacher()
                  : recipe.getModels().getStudent());
      if (made.isEmpty() && !Files.isDirectory(given)) {
        continue;
      }
      ObjectNode row = sizes.addObject();
      row.put("variant", model.variant().getName());
      row.put("seed", model.seed());
      row.put("bits", bits(model.variant()));
      row.put("bytes", made.map(ReportBuilder::weights).orElseGet(() -> bytes(given, WEIGHTS)));
    }
  }

  /**
   * Sizes of the teacher cache as measured: its files over its tokens and images, and what the
   * units measured themselves.
   */
  private void signals(ObjectNode node) {
    ReportInput.Stage signals = byId.get(joined());
    if (signals == null) {
      return;
    }
    JsonNode gate = tree(Artifacts.fetch(artifact(signals), JoinSignals.GATE));
    long total = 0;
    Map<String, double[]> measures = new TreeMap<>();
    Set<String> units =
        plan.stages().stream()
            .filter(stage -> stage.id().equals(joined()))
            .flatMap(stage -> stage.inputs().values().stream())
            .collect(Collectors.toSet());
    for (ReportInput.Stage stage : input.stages()) {
      if (stage.kind().equals("extract") && units.contains(stage.id())) {
        total += stage.manifest().getArtifact().getBytes();
        stage
            .manifest()
            .getMeasuresMap()
            .forEach(
                (name, value) -> {
                  double[] sum = measures.computeIfAbsent(name, n -> new double[2]);
                  sum[0] += value;
                  sum[1]++;
                });
      }
    }
    node.put("bytes", total);
    node.put("tokens", gate.path("tokens").asLong());
    node.put("images", gate.path("examples").asLong());
    measures.forEach(
        (name, sum) -> {
          if (!node.has(name)) {
            node.put(
                name,
                name.toLowerCase(java.util.Locale.ROOT).contains("per") ? sum[0] / sum[1] : sum[0]);
          }
        });
  }

  /**
   * Length of the union of all stages' compute times: the time in which at least one worker
   * computed. Overlapping calls count once, so the ratio of wall time to it hides no idle time.
   */
  static double busySeconds(List<ReportInput.Stage> stages) {
    List<ReportInput.Stage> computed =
        stages.stream()
            .filter(stage -> stage.workerSeconds() > 0)
            .sorted(Comparator.comparingDouble(ReportBuilder::begin))
            .toList();
    double busy = 0;
    double until = Double.NEGATIVE_INFINITY;
    for (ReportInput.Stage stage : computed) {
      double end = stage.endMillis() / 1e3;
      busy += Math.max(0, end - Math.max(begin(stage), until));
      until = Math.max(until, end);
    }
    return busy;
  }

  private static double begin(ReportInput.Stage stage) {
    return stage.endMillis() / 1e3 - stage.workerSeconds();
  }

  private void timings(ObjectNode timings) {
    double worker = 0;
    Map<String, double[]> kinds = new LinkedHashMap<>();
    for (ReportInput.Stage stage : input.stages()) {
      double[] sums = kinds.computeIfAbsent(stage.kind(), k -> new double[4]);
      sums[0]++;
      sums[1] += stage.cached() ? 1 : 0;
      sums[2] += stage.wallSeconds();
      sums[3] += stage.workerSeconds();
      worker += stage.workerSeconds();
    }
    timings.put("wallSeconds", input.wallSeconds());
    timings.put("workerSeconds", worker);
    double busy = busySeconds(input.stages());
    timings.put("busySeconds", busy);
    timings.put("workers", input.workers());
    if (worker > 0) {
      timings.put("ratio", input.wallSeconds() / busy);
    }
    ArrayNode stages = timings.putArray("stages");
    kinds.forEach(
        (kind, sums) ->
            stages
                .addObject()
                .put("stage", kind)
                .put("tasks", (int) sums[0])
                .put("cached", (int) sums[1])
                .put("wallSeconds", sums[2])
                .put("workerSeconds", sums[3]));
  }

  private static ArtifactRef artifact(ReportInput.Stage stage) {
    return stage.manifest().getArtifact();
  }

  /** Sum of the sizes of the files with weights. */
  private static long weights(ArtifactRef model) {
    return Artifacts.sizes(model).entrySet().stream()
        .filter(file -> file.getKey().endsWith(WEIGHTS))
        .mapToLong(Map.Entry::getValue)
        .sum();
  }

  private static JsonNode tree(Path file) {
    try {
      return JSON.readTree(file.toFile());
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be read: %s", file, e.getMessage()).withCause(e);
    }
  }

  private static long bytes(Path folder, String ending) {
    try (Stream<Path> files = Files.walk(folder)) {
      long bytes = 0;
      for (Path file : files.filter(f -> f.toString().endsWith(ending)).toList()) {
        bytes += Files.size(file);
      }
      return bytes;
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be read: %s", folder, e.getMessage())
          .withCause(e);
    }
  }
}
