package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import io.gracebeam.transforms.scoring.BenchmarkFiles;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.Score;
import io.gracebeam.transforms.scoring.Scorer;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.KvCoder;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TupleTagList;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Evaluates answers by the official rules: one {@link BenchmarkScore} for each model and benchmark
 * that was asked.
 *
 * <p>Task ids tell what was asked: {@code MODEL/BENCHMARK/UNIT}, where MODEL may have slashes, for
 * instance {@code answer/grace-int4/s0/pope/u000}. The units of a model and benchmark are scored
 * together, in any order and bundling with the same figures.
 *
 * <p>What cannot be scored is a dead letter: answers of a task with another id or of an unknown
 * benchmark, answers to no question of the benchmark, refused questions, and questions with two
 * different answers. A question without a usable answer counts as wrong.
 */
@AutoValue
public abstract class EvaluateBenchmarks
    extends PTransform<PCollection<AnswerRow>, EvaluateBenchmarks.Result> {
  private static final String STAGE = "evaluate";
  private static final TupleTag<KV<String, AnswerRow>> ASKED = new TupleTag<>("asked") {};
  private static final TupleTag<BenchmarkScore> SCORES = new TupleTag<>("scores") {};

  /** Folder with the question files, under the names that their formats expect in a dataset. */
  public abstract String dataset();

  /** Folder for images that a question file carries within itself. */
  public abstract String scratch();

  /** Format of each benchmark by its name in task ids. */
  public abstract Map<String, String> formats();

  /**
   * An evaluation.
   *
   * @throws GraceException (user) if no benchmark is named, or one of an unknown format
   */
  public static EvaluateBenchmarks of(Path dataset, Path scratch, Map<String, String> formats) {
    if (formats.isEmpty()) {
      throw GraceException.user("evaluation: no benchmark is named; name at least one");
    }
    Plugins<BenchmarkFormat> known = BenchmarkFormat.all();
    formats.values().forEach(known::get);
    return new AutoValue_EvaluateBenchmarks(
        dataset.toString(), scratch.toString(), new TreeMap<>(formats));
  }

  @Override
  public Result expand(PCollection<AnswerRow> answers) {
    if (answers.isBounded() == PCollection.IsBounded.UNBOUNDED) {
      throw new IllegalArgumentException(
          getName() + ": answers are unbounded; only bounded collections are allowed");
    }
    PCollectionTuple asked =
        answers.apply(
            "ByModelAndBenchmark",
            ParDo.of(new ByModelAndBenchmarkFn(formats().keySet()))
                .withOutputTags(ASKED, TupleTagList.of(StageOutputs.DEAD_LETTERS)));
    PCollectionTuple scored =
        asked
            .get(ASKED)
            .setCoder(KvCoder.of(StringUtf8Coder.of(), answers.getCoder()))
            .apply("Group", GroupByKey.create())
            .apply(
                "Score",
                ParDo.of(new ScoreFn(dataset(), scratch(), formats()))
                    .withOutputTags(SCORES, TupleTagList.of(StageOutputs.DEAD_LETTERS)));
    PCollection<DeadLetter> deadLetters =
        PCollectionList.of(asked.get(StageOutputs.DEAD_LETTERS))
            .and(scored.get(StageOutputs.DEAD_LETTERS))
            .apply("DeadLetters", Flatten.pCollections());
    return new Result(scored.get(SCORES), deadLetters);
  }

  private static DeadLetter letter(AnswerRow answer, String reason) {
    return DeadLetter.of(STAGE, answer.getTaskId(), answer.getQuestionId(), reason);
  }

  private static final class ByModelAndBenchmarkFn extends DoFn<AnswerRow, KV<String, AnswerRow>> {
    private static final long serialVersionUID = 1L;
    private final HashSet<String> known;

    ByModelAndBenchmarkFn(Set<String> known) {
      this.known = new HashSet<>(known);
    }

    @ProcessElement
    public void process(@Element AnswerRow answer, MultiOutputReceiver out) {
      String task = answer.getTaskId();
      int unit = task.lastIndexOf('/');
      int benchmark = task.lastIndexOf('/', unit - 1);
      if (benchmark < 1) {
        out.get(StageOutputs.DEAD_LETTERS)
            .output(letter(answer, "the task's id is not of the form MODEL/BENCHMARK/UNIT"));
      } else if (!known.contains(task.substring(benchmark + 1, unit))) {
        out.get(StageOutputs.DEAD_LETTERS)
            .output(
                letter(
                    answer, "unknown benchmark " + task.substring(benchmark + 1, unit) + " in id"));
      } else {
        out.get(ASKED).output(KV.of(task.substring(0, unit), answer));
      }
    }
  }

  private static final class ScoreFn extends DoFn<KV<String, Iterable<AnswerRow>>, BenchmarkScore> {
    private static final long serialVersionUID = 1L;
    private final String dataset;
    private final String scratch;
    private final TreeMap<String, String> formats;
    private transient @Nullable Map<String, Opened> open;

    ScoreFn(String dataset, String scratch, Map<String, String> formats) {
      this.dataset = dataset;
      this.scratch = scratch;
      this.formats = new TreeMap<>(formats);
    }

    private record Opened(List<Question> questions, Scorer scorer) {}

    private Opened benchmark(String name) {
      if (open == null) {
        open = new HashMap<>();
      }
      return open.computeIfAbsent(name, this::read);
    }

    private Opened read(String name) {
      BenchmarkFormat format = BenchmarkFormat.all().get(formats.get(name));
      BenchmarkFiles files =
          BenchmarkFiles.ofDataset(name, Path.of(dataset), Path.of(scratch, name));
      return new Opened(format.read(files, format.promptStyle()).questions(), format.scorer());
    }

    @ProcessElement
    public void process(@Element KV<String, Iterable<AnswerRow>> asked, MultiOutputReceiver out) {
      int slash = asked.getKey().lastIndexOf('/');
      String model = asked.getKey().substring(0, slash);
      String name = asked.getKey().substring(slash + 1);
      Opened benchmark = benchmark(name);
      Set<String> ids = new HashSet<>();
      for (Question question : benchmark.questions()) {
        ids.add(question.id());
      }
      OutputReceiver<DeadLetter> dead = out.get(StageOutputs.DEAD_LETTERS);
      Map<String, String> answers = new HashMap<>();
      Set<String> disputed = new TreeSet<>();
      for (AnswerRow answer : asked.getValue()) {
        String id = answer.getQuestionId();
        if (!answer.getError().isEmpty()) {
          dead.output(letter(answer, answer.getError()));
        } else if (!ids.contains(id)) {
          dead.output(letter(answer, "benchmark " + name + " has no question " + id));
        } else {
          String before = answers.putIfAbsent(id, answer.getText());
          if (before != null && !before.equals(answer.getText())) {
            disputed.add(id);
          }
        }
      }
      for (String id : disputed) {
        answers.remove(id);
        dead.output(
            DeadLetter.of(
                STAGE, asked.getKey(), id, "question " + id + " has two different answers"));
      }
      Score score = Score.of(benchmark.scorer(), benchmark.questions(), answers);
      out.get(SCORES).output(BenchmarkScore.of(model, name, score));
    }
  }

  /** Scores, and the answers that were no use. */
  public static final class Result implements POutput {
    private final PCollection<BenchmarkScore> scores;
    private final PCollection<DeadLetter> deadLetters;

    Result(PCollection<BenchmarkScore> scores, PCollection<DeadLetter> deadLetters) {
      this.scores = scores;
      this.deadLetters = deadLetters;
    }

    /** One for each model and benchmark of which any answer came. */
    public PCollection<BenchmarkScore> scores() {
      return scores;
    }

    /** Answers that cannot be scored. */
    public PCollection<DeadLetter> deadLetters() {
      return deadLetters;
    }

    @Override
    public Pipeline getPipeline() {
      return scores.getPipeline();
    }

    @Override
    public Map<TupleTag<?>, PValue> expand() {
      return Map.of(SCORES, scores, StageOutputs.DEAD_LETTERS, deadLetters);
    }

    @Override
    public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}
  }
}
