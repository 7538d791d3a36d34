package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.ScoreWork;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.ScoringFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.WithKeys;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TypeDescriptors;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Scores the answers to a benchmark by the rule of its format: one {@link BenchmarkScore} for each
 * label of {@link AnswerQuestions}. Elements are {@link AnswerQuestions.Result#units}, which are
 * scored together in any order and bundling with the same figures. A question that was refused, or
 * not asked, has no credit.
 *
 * <p>The score is an artifact in the store, so answers that were scored before are not scored
 * again; {@code grace run} scores with the same stage. No worker is called.
 */
@AutoValue
public abstract class ScoreAnswers
    extends PTransform<PCollection<StageResult>, ScoreAnswers.Result> {
  private static final String NAME = "ScoreAnswers";
  private static final TupleTag<BenchmarkScore> SCORES = new TupleTag<>("scores") {};

  abstract Workers workers();

  abstract @Nullable String store();

  abstract @Nullable ReadBenchmark benchmark();

  /** Scores in pipelines that use the given workers. */
  public static ScoreAnswers on(Workers workers) {
    return new AutoValue_ScoreAnswers(workers, null, null);
  }

  /** Sets the artifact store: a URI, or a folder. Required. */
  public ScoreAnswers intoStore(String store) {
    return new AutoValue_ScoreAnswers(workers(), Settings.store(NAME, store), benchmark());
  }

  /** Sets the benchmark with the right answers: that whose questions were asked. Required. */
  public ScoreAnswers withBenchmark(ReadBenchmark benchmark) {
    return new AutoValue_ScoreAnswers(workers(), store(), benchmark);
  }

  @Override
  public Result expand(PCollection<StageResult> units) {
    Settings.bounded(NAME, units);
    Settings.required(NAME, "intoStore", store());
    Settings.required(NAME, "withBenchmark", benchmark());
    StageOutputs outputs =
        units
            .apply(
                "ByLabel",
                WithKeys.of((StageResult unit) -> label(unit.getTaskId()))
                    .withKeyType(TypeDescriptors.strings()))
            .apply("Group", GroupByKey.create())
            .apply("Task", ParDo.of(new TaskFn(this)))
            .apply("Score", RunStages.on(workers()));
    return new Result(
        outputs.results().apply("Read", ParDo.of(new ReadFn())), outputs.deadLetters());
  }

  /** What a unit's id has before its last slash. */
  private static String label(String id) {
    int slash = id.lastIndexOf('/');
    return slash < 0 ? id : id.substring(0, slash);
  }

  private static final class TaskFn extends DoFn<KV<String, Iterable<StageResult>>, StageTask> {
    private static final long serialVersionUID = 1L;
    private final ScoreAnswers settings;

    TaskFn(ScoreAnswers settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(
        @Element KV<String, Iterable<StageResult>> labeled, OutputReceiver<StageTask> out) {
      List<StageResult> units = new ArrayList<>();
      labeled.getValue().forEach(units::add);
      units.sort(Comparator.comparing(StageResult::getTaskId));
      ScoreWork work = ScoreWork.newBuilder().setFormat(settings.benchmark().format()).build();
      StageTask task =
          StageTask.of("score/" + labeled.getKey(), "score", work, 0, settings.store())
              .withInput("questions", publish(settings.benchmark().read()));
      for (int i = 0; i < units.size(); i++) {
        task = task.withInput("answers-" + i, units.get(i).manifest().getArtifact());
      }
      out.output(task);
    }

    /** Questions with their right answers, under a key made of their content. */
    private ArtifactRef publish(List<Question> questions) {
      ArtifactStore store = ArtifactStore.open(Artifacts.uri("store", settings.store()));
      Path folder = store.begin("questions");
      try {
        ScoringFiles.writeQuestions(folder, questions);
        String content = "questions " + Digests.sha256(folder);
        Manifest.Builder partial =
            Manifest.newBuilder()
                .setStage("questions")
                .setStageKey(Digests.sha256(content.getBytes(StandardCharsets.UTF_8)))
                .putTools("grace-beam", Builds.current());
        partial.getArtifactBuilder().setKind("questions");
        return store.publish(folder, partial).getArtifact();
      } catch (IOException e) {
        throw ArtifactStore.cannotWrite(folder, e);
      } finally {
        store.abandon(folder);
      }
    }
  }

  private static final class ReadFn extends DoFn<StageResult, BenchmarkScore> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<BenchmarkScore> out) {
      String label = result.getTaskId().substring("score/".length());
      out.output(
          BenchmarkScore.of(
              label(label),
              label.substring(label.lastIndexOf('/') + 1),
              ScoringFiles.readScore(Artifacts.fetch(result.manifest().getArtifact()))));
    }
  }

  /** Scores, and the answers that could not be scored. */
  public static final class Result implements POutput {
    private final PCollection<BenchmarkScore> scores;
    private final PCollection<DeadLetter> errors;

    private Result(PCollection<BenchmarkScore> scores, PCollection<DeadLetter> errors) {
      this.scores = scores;
      this.errors = errors;
    }

    /** One score for each label. */
    public PCollection<BenchmarkScore> scores() {
      return scores;
    }

    /** Labels whose answers are damaged. */
    public PCollection<DeadLetter> errors() {
      return errors;
    }

    @Override
    public Pipeline getPipeline() {
      return scores.getPipeline();
    }

    @Override
    public Map<TupleTag<?>, PValue> expand() {
      return Map.of(SCORES, scores, StageOutputs.DEAD_LETTERS, errors);
    }

    @Override
    public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}
  }
}
