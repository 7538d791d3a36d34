package io.gracebeam.pipelines.plan;

import com.google.protobuf.Empty;
import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.recipe.Works;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.ScoreWork;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.Variant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Predicate;

/**
 * All stages of a run, in an order in which every stage comes after those that it reads. Fixed by
 * the recipe and the sizes of its data, never by the number of workers.
 */
public final class RunPlan {

  /** The training set. */
  public static final String DATASET = "@dataset";

  /** The teacher's folder, where the recipe names one. */
  public static final String TEACHER = "@teacher";

  /** The student's folder, where the recipe names one. */
  public static final String STUDENT = "@student";

  /**
   * What teacher preparation trains on; the same as {@link #DATASET} unless the student gets less.
   */
  public static final String TEACHER_DATASET = "@teacher-dataset";

  /** Prefix of a benchmark's images. */
  public static final String BENCHMARK = "@benchmark/";

  /** Prefix of what is asked of a benchmark, with the right answers. */
  public static final String QUESTIONS = "@questions/";

  /**
   * Sizes that the plan depends on.
   *
   * @param examples training examples
   * @param questions what is asked, by benchmark, in the recipe's order
   * @param shown index of the example whose token similarities are drawn; empty for none
   */
  public record Sizes(int examples, Map<String, Asked> questions, OptionalInt shown) {
    /** Keeps the order of the benchmarks. */
    public Sizes {
      questions = Collections.unmodifiableMap(new LinkedHashMap<>(questions));
    }
  }

  /**
   * What is asked of a benchmark.
   *
   * @param questions in the file's order
   * @param maxNewTokens longest answer, in tokens
   * @param format by whose rule the answers are scored
   */
  public record Asked(List<Question> questions, int maxNewTokens, String format) {
    /** Copies the questions. */
    public Asked {
      questions = List.copyOf(questions);
    }

    private boolean hasImages() {
      return questions.stream().anyMatch(question -> question.getImagesCount() > 0);
    }
  }

  /**
   * One evaluated model: a row of the table for one seed.
   *
   * @param variant its resolved variant
   * @param seed the seed; a teacher of all seeds has only the first
   * @param model stage (or {@code @} input) whose artifact answers
   * @param trained stage whose curves belong to it; empty where nothing was trained
   */
  public record Model(Variant variant, long seed, String model, Optional<String> trained) {
    /** Name used in stage ids. */
    public String label() {
      return variant.getName() + "/s" + seed;
    }

    /** The stage that scores its answers to a benchmark. */
    public String score(String benchmark) {
      return "score/" + label() + "/" + benchmark;
    }
  }

  /**
   * A model whose token similarities the report draws.
   *
   * @param name its variant
   * @param bits of its weights
   * @param teacher whether the others are compared with it
   * @param stage stage whose artifact holds the matrix
   */
  public record Shown(String name, int bits, boolean teacher, String stage) {}

  private final StageTable table = StageTable.load();
  private final Recipe recipe;
  private final Sizes sizes;
  private final Optional<StartSettings> start;
  private final Map<String, PlannedStage> stages = new LinkedHashMap<>();
  private final Map<Map.Entry<Variant, Long>, String> trained = new HashMap<>();
  private final List<Model> models = new ArrayList<>();
  private final List<Shown> shown = new ArrayList<>();

  private RunPlan(Recipe recipe, Sizes sizes, Optional<StartSettings> start) {
    this.recipe = recipe;
    this.sizes = sizes;
    this.start = start;
  }

  /**
   * Plans a run.
   *
   * @param recipe a resolved recipe
   * @param sizes sizes of its data
   * @param start how teacher and student are made, where the recipe names none
   * @throws GraceException (user) when a variant needs a teacher or student that nothing gives
   */
  public static RunPlan of(Recipe recipe, Sizes sizes, Optional<StartSettings> start) {
    RunPlan plan = new RunPlan(recipe, sizes, start);
    plan.build();
    return plan;
  }

  /** The stages; each comes after its inputs. */
  public List<PlannedStage> stages() {
    return List.copyOf(stages.values());
  }

  /** The stages by wave: those of one wave do not depend on each other. */
  public List<List<PlannedStage>> waves() {
    List<List<PlannedStage>> waves = new ArrayList<>();
    for (PlannedStage stage : stages.values()) {
      while (waves.size() <= stage.wave()) {
        waves.add(new ArrayList<>());
      }
      waves.get(stage.wave()).add(stage);
    }
    return waves;
  }

  /** The models that answer the benchmarks. */
  public List<Model> models() {
    return List.copyOf(models);
  }

  /** The models whose token similarities are drawn, the teacher first. */
  public List<Shown> shown() {
    return List.copyOf(shown);
  }

  /** The recipe that this plan follows. */
  public Recipe recipe() {
    return recipe;
  }

  /** The stage that makes the teacher of one seed, or the given folder. */
  public String teacher(long seed) {
    return start.isPresent() ? "prepare/teacher" + ofTeacher(seed) : TEACHER;
  }

  /** The stage that joins the signals of one seed's teacher; planned if a variant distils. */
  public String signals(long seed) {
    return "signals" + ofTeacher(seed);
  }

  /** End of the ids of what hangs on the teacher alone. */
  private String ofTeacher(long seed) {
    return start.isPresent() && start.get().teacherPerSeed() ? "/s" + seed : "";
  }

  /** The stage that makes the student of one seed, or the given folder. */
  public String student(long seed) {
    if (start.isEmpty()) {
      return STUDENT;
    }
    long own = start.get().studentPerSeed() ? seed : recipe.getSeeds(0);
    return "prepare/student/s" + own;
  }

  private void build() {
    prepare();
    boolean distils = recipe.getVariantsList().stream().anyMatch(Variants::distils);
    if (distils) {
      requireTeacher("a variant distils");
      recipe.getSeedsList().forEach(this::extract);
    }
    for (Variant variant : recipe.getVariantsList()) {
      List<Long> seeds = recipe.getSeedsList();
      if (variant.getSource().equals("teacher")) {
        requireTeacher("variant " + variant.getName() + " is the teacher");
        seeds.stream()
            .filter(seed -> seed.equals(seeds.get(0)) || !ofTeacher(seed).isEmpty())
            .forEach(seed -> models.add(new Model(variant, seed, teacher(seed), Optional.empty())));
        continue;
      }
      for (long seed : seeds) {
        models.add(student(variant, seed));
      }
    }
    answer();
    show();
  }

  private void prepare() {
    if (start.isEmpty()) {
      return;
    }
    for (long seed : recipe.getSeedsList()) {
      prepare(teacher(seed), TEACHER_DATASET, start.get().teacher(), seed);
    }
    for (long seed : recipe.getSeedsList()) {
      prepare(student(seed), DATASET, start.get().student(), seed);
    }
  }

  /** Once, with the first of the seeds that share it. */
  private void prepare(String id, String dataset, PrepareWork work, long seed) {
    if (!stages.containsKey(id)) {
      add(id, "prepare", Map.of("dataset", dataset), work, seed, "");
    }
  }

  private void extract(long seed) {
    if (stages.containsKey(signals(seed))) {
      return;
    }
    int unit = Math.max(1, recipe.getData().getShardExamples());
    TeacherCache cache = recipe.getTeacherCache();
    Map<String, String> units = new LinkedHashMap<>();
    for (int first = 0, i = 0; first < sizes.examples(); first += unit, i++) {
      String id = "extract%s/u%04d".formatted(ofTeacher(seed), i);
      add(
          id,
          "extract",
          Map.of("teacher", teacher(seed), "dataset", DATASET),
          ExtractRequest.newBuilder()
              .setFirst(first)
              .setCount(Math.min(unit, sizes.examples() - first))
              .setCache(cache)
              .setTemperature(recipe.getGrace().getTemperature())
              .build(),
          0,
          "");
      units.put("unit-%04d".formatted(i), id);
    }
    units.put("teacher", teacher(seed));
    add(signals(seed), "signals", units, Empty.getDefaultInstance(), 0, "");
  }

  private Model student(Variant variant, long seed) {
    String label = variant.getName() + "/s" + seed;
    switch (variant.getSource()) {
      case "baseline":
        return new Model(variant, seed, student(seed), Optional.empty());
      case "rtn":
        add(
            "export/" + label,
            "export",
            Map.of("model", student(seed)),
            Works.export(variant),
            seed,
            variant.getName());
        return new Model(variant, seed, "export/" + label, Optional.empty());
      case "train":
        String trained = trainOnce(variant, seed, label);
        add(
            "export/" + label,
            "export",
            Map.of("trained", trained),
            Works.export(variant),
            seed,
            variant.getName());
        return new Model(variant, seed, "export/" + label, Optional.of(trained));
      default:
        throw GraceException.user(
            "variant %s: source %s; allowed: teacher, baseline, rtn, train",
            variant.getName(), variant.getSource());
    }
  }

  /** Variants that train alike share the trained model, whatever they are called. */
  private String trainOnce(Variant variant, long seed, String label) {
    Map.Entry<Variant, Long> same = Map.entry(Variants.trained(variant), seed);
    String done = trained.get(same);
    if (done == null) {
      done = train(variant, seed, label);
      trained.put(same, done);
    }
    return done;
  }

  private String train(Variant variant, long seed, String label) {
    int shards = Math.max(1, recipe.getShards());
    int rounds = Math.max(1, recipe.getRounds());
    String previous = "";
    for (int round = 0; round < rounds; round++) {
      Map<String, String> parts = new LinkedHashMap<>();
      parts.put("previous", round == 0 ? student(seed) : previous);
      String last = "";
      for (int shard = 0; shard < shards; shard++) {
        Map<String, String> inputs = new LinkedHashMap<>();
        inputs.put("student", round == 0 ? student(seed) : previous);
        inputs.put("dataset", DATASET);
        if (Variants.distils(variant)) {
          inputs.put("signals", signals(seed));
        }
        if (round > 0) {
          inputs.put("state", previous);
        }
        last = "train/%s/r%d/k%d".formatted(label, round, shard);
        TrainWork work =
            Works.train(recipe, variant).toBuilder()
                .setShard(shard)
                .setShards(shards)
                .setRound(round)
                .setRounds(rounds)
                .build();
        add(last, "train", inputs, work, seed, variant.getName());
        parts.put("shard-" + shard, last);
      }
      if (shards == 1 && rounds == 1) {
        return last;
      }
      previous = "average/%s/r%d".formatted(label, round);
      AverageWork work =
          AverageWork.newBuilder().setOuter(recipe.getOuter()).setShards(shards).build();
      add(previous, "average", parts, work, seed, variant.getName());
    }
    return previous;
  }

  private void answer() {
    int unit = Math.max(1, recipe.getData().getShardExamples());
    for (Model model : models) {
      sizes
          .questions()
          .forEach(
              (name, asked) -> {
                List<Question> questions = asked.questions();
                Map<String, String> inputs = new LinkedHashMap<>();
                inputs.put("model", model.model());
                if (asked.hasImages()) {
                  inputs.put("images", BENCHMARK + name);
                }
                Map<String, String> answers = new LinkedHashMap<>();
                answers.put("questions", QUESTIONS + name);
                int total = questions.size();
                for (int first = 0, i = 0; first < total; first += unit, i++) {
                  GenerateRequest work =
                      GenerateRequest.newBuilder()
                          .addAllQuestions(questions.subList(first, Math.min(total, first + unit)))
                          .setMaxNewTokens(asked.maxNewTokens())
                          .setBatch(recipe.getEvaluation().getBatch())
                          .build();
                  String id = "answer/%s/%s/u%03d".formatted(model.label(), name, i);
                  answers.put("answers-" + i, id);
                  add(id, "answer", inputs, work, 0, model.variant().getName());
                }
                add(
                    model.score(name),
                    "score",
                    answers,
                    ScoreWork.newBuilder().setFormat(asked.format()).build(),
                    0,
                    model.variant().getName());
              });
    }
  }

  /**
   * Teacher, baseline and the GRACE student, of 4 bits where there are several, with the first
   * seed. Their matrices are extracted apart from the teacher's signals, which nothing here may
   * touch.
   */
  private void show() {
    if (sizes.shown().isEmpty()) {
      return;
    }
    if (recipe.getVariantsList().stream().anyMatch(Variants::needsTeacher)) {
      show("teacher", 16, true, teacher(recipe.getSeeds(0)));
    }
    firstSeed(model -> model.variant().getSource().equals("baseline"))
        .ifPresent(model -> show(model.variant().getName(), 16, false, model.model()));
    firstSeed(model -> Variants.grace(model.variant()) && model.variant().getBits() == 4)
        .or(() -> firstSeed(model -> Variants.grace(model.variant())))
        .ifPresent(
            model ->
                show(model.variant().getName(), model.variant().getBits(), false, model.model()));
  }

  private Optional<Model> firstSeed(Predicate<Model> wanted) {
    return models.stream().filter(m -> m.seed() == recipe.getSeeds(0)).filter(wanted).findFirst();
  }

  private void show(String name, int bits, boolean teacher, String model) {
    // The smallest form of the other signals, since only the matrix is read.
    ExtractRequest work =
        ExtractRequest.newBuilder()
            .setFirst(sizes.shown().getAsInt())
            .setCount(1)
            .setCache(TeacherCache.newBuilder().setForm("top-k").setTopK(1).setGram("f32"))
            .setTemperature(1)
            .build();
    Map<String, String> inputs = Map.of("teacher", model, "dataset", DATASET);
    add("gram/" + name, "gram", inputs, work, 0, name);
    shown.add(new Shown(name, bits, teacher, "gram/" + name));
  }

  private void requireTeacher(String why) {
    if (start.isEmpty() && recipe.getModels().getTeacher().isEmpty()) {
      throw GraceException.user(
          "recipe %s: models.teacher is empty, but %s; name a Hugging Face folder",
          recipe.getName(), why);
    }
  }

  private void add(
      String id, String kind, Map<String, String> inputs, Message work, long seed, String variant) {
    int wave = 0;
    for (String input : inputs.values()) {
      if (input.startsWith("@")) {
        continue;
      }
      PlannedStage below = stages.get(input);
      if (below == null) {
        throw GraceException.bug("stage %s reads %s, which is not planned before it", id, input);
      }
      wave = Math.max(wave, below.wave() + 1);
    }
    StageKind row = table.get(kind);
    row.check(id, work);
    row.checkInputs(id, inputs.keySet());
    stages.put(id, new PlannedStage(id, row, inputs, work, seed, variant, wave));
  }

  /** One line per stage: {@code wave id <- role=input ...}; what the golden test compares. */
  public String describe() {
    StringBuilder text = new StringBuilder();
    for (PlannedStage stage : stages.values()) {
      text.append(stage.wave()).append(' ').append(stage.id());
      stage
          .inputs()
          .forEach((role, input) -> text.append(' ').append(role).append('=').append(input));
      text.append('\n');
    }
    return text.toString();
  }
}
