package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.transforms.client.Workers;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.WithKeys;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TupleTagList;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Asks a model questions and gives one {@link AnswerRow} for each that is answered. Answers decode
 * greedily on the weights that the model's folder holds, packed ones included.
 *
 * <pre>{@code
 * AnswerQuestions.Result answered =
 *     questions.apply(
 *         AnswerQuestions.on(workers).intoStore(store).withModel(model).withMaxNewTokens(16));
 * }</pre>
 *
 * <p>Questions are sorted by id and cut into units of {@link #withQuestionsPerUnit}, so neither
 * their order nor bundling changes a unit. Each unit is an artifact in the store: a unit that was
 * asked before is read, not asked. Bounded input; the ids must differ.
 *
 * <p>{@link Result#errors} holds questions that the worker refused and questions whose id stands
 * twice. Everything else that fails fails the pipeline with one line.
 */
@AutoValue
public abstract class AnswerQuestions
    extends PTransform<PCollection<QuestionRow>, AnswerQuestions.Result> {
  private static final String NAME = "AnswerQuestions";
  private static final TupleTag<StageTask> TASKS = new TupleTag<>("tasks") {};
  private static final TupleTag<AnswerRow> ANSWERS = new TupleTag<>("answers") {};

  abstract Workers workers();

  abstract @Nullable String store();

  abstract @Nullable Given model();

  abstract @Nullable Artifact images();

  abstract int maxNewTokens();

  abstract int batch();

  abstract int questionsPerUnit();

  abstract String label();

  abstract Builder toBuilder();

  /** Asks on the given workers: 32 new tokens at most, batches of 8, units of 64 questions. */
  public static AnswerQuestions on(Workers workers) {
    return new AutoValue_AnswerQuestions.Builder()
        .workers(workers)
        .maxNewTokens(32)
        .batch(8)
        .questionsPerUnit(64)
        .label("questions")
        .build();
  }

  /** Sets the artifact store: a URI, or a folder. Required. */
  public AnswerQuestions intoStore(String store) {
    return toBuilder().store(Settings.store(NAME, store)).build();
  }

  /** Sets the model. Required. */
  public AnswerQuestions withModel(Artifact model) {
    return toBuilder().model(Given.of(model)).build();
  }

  /** Sets the model to the only element of a collection, as {@code View.asSingleton} gives it. */
  public AnswerQuestions withModel(PCollectionView<Artifact> model) {
    return toBuilder().model(Given.of(model)).build();
  }

  /** Sets the folder of the images that questions name. */
  public AnswerQuestions withImages(Artifact images) {
    return toBuilder().images(images).build();
  }

  /** Bounds the answers' length, in tokens. */
  public AnswerQuestions withMaxNewTokens(int tokens) {
    return toBuilder().maxNewTokens(Settings.positive(NAME, "withMaxNewTokens", tokens)).build();
  }

  /** Sets how many questions a worker answers at once. */
  public AnswerQuestions withBatch(int questions) {
    return toBuilder().batch(Settings.positive(NAME, "withBatch", questions)).build();
  }

  /** Sets how many questions make one unit of work, and one artifact. */
  public AnswerQuestions withQuestionsPerUnit(int questions) {
    return toBuilder()
        .questionsPerUnit(Settings.positive(NAME, "withQuestionsPerUnit", questions))
        .build();
  }

  /**
   * Sets the beginning of the units' ids, for instance {@code my-model/pope}. {@link ScoreAnswers}
   * takes what stands before the last slash as the model and the rest as the benchmark.
   */
  public AnswerQuestions withLabel(String label) {
    return toBuilder().label(label).build();
  }

  @Override
  public Result expand(PCollection<QuestionRow> questions) {
    Settings.bounded(NAME, questions);
    Settings.required(NAME, "intoStore", store());
    Given model = Settings.required(NAME, "withModel", model());
    PCollectionTuple units =
        questions
            .apply("Together", WithKeys.of(""))
            .apply("Group", GroupByKey.create())
            .apply(
                "Units",
                ParDo.of(new UnitsFn(this))
                    .withSideInputs(model.sideInputs())
                    .withOutputTags(TASKS, TupleTagList.of(StageOutputs.DEAD_LETTERS)));
    StageOutputs outputs = units.get(TASKS).apply("Ask", RunStages.on(workers()));
    PCollection<DeadLetter> errors =
        PCollectionList.of(units.get(StageOutputs.DEAD_LETTERS))
            .and(outputs.deadLetters())
            .apply("Errors", Flatten.pCollections());
    return new Result(
        outputs.results().apply("Read", ParDo.of(new ReadFn())), outputs.results(), errors);
  }

  private static final class UnitsFn extends DoFn<KV<String, Iterable<QuestionRow>>, StageTask> {
    private static final long serialVersionUID = 1L;
    private final AnswerQuestions settings;

    UnitsFn(AnswerQuestions settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(ProcessContext context) {
      List<QuestionRow> sorted = new ArrayList<>();
      context.element().getValue().forEach(sorted::add);
      sorted.sort(Comparator.comparing(QuestionRow::getId).thenComparing(QuestionRow::toString));
      List<QuestionRow> questions = new ArrayList<>();
      for (QuestionRow question : sorted) {
        String last = questions.isEmpty() ? "" : questions.get(questions.size() - 1).getId();
        if (!questions.isEmpty() && last.equals(question.getId())) {
          context.output(
              StageOutputs.DEAD_LETTERS,
              DeadLetter.of(
                  "answer", settings.label(), last, "question id stands twice; ids must differ"));
        } else {
          questions.add(question);
        }
      }
      int unit = settings.questionsPerUnit();
      for (int first = 0; first < questions.size(); first += unit) {
        context.output(
            settings.task(
                first / unit,
                questions.subList(first, Math.min(questions.size(), first + unit)),
                settings.model().get(context)));
      }
    }
  }

  private StageTask task(int unit, List<QuestionRow> questions, Artifact model) {
    GenerateRequest work =
        GenerateRequest.newBuilder()
            .addAllQuestions(questions.stream().map(QuestionRow::message).toList())
            .setMaxNewTokens(maxNewTokens())
            .setBatch(batch())
            .build();
    StageTask task =
        StageTask.of("%s/u%04d".formatted(label(), unit), "answer", work, 0, store())
            .withInput("model", model.ref());
    return images() == null ? task : task.withInput("images", images().ref());
  }

  private static final class ReadFn extends DoFn<StageResult, AnswerRow> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<AnswerRow> out) {
      Answers.read(result.manifest().getArtifact()).stream()
          .filter(answer -> answer.getError().isEmpty())
          .forEach(answer -> out.output(AnswerRow.of(result.getTaskId(), answer)));
    }
  }

  @AutoValue.Builder
  abstract static class Builder {
    abstract Builder workers(Workers workers);

    abstract Builder store(String store);

    abstract Builder model(Given model);

    abstract Builder images(Artifact images);

    abstract Builder maxNewTokens(int tokens);

    abstract Builder batch(int questions);

    abstract Builder questionsPerUnit(int questions);

    abstract Builder label(String label);

    abstract AnswerQuestions build();
  }

  /** Answers, and the questions that could not be answered. */
  public static final class Result implements POutput {
    private final PCollection<AnswerRow> answers;
    private final PCollection<StageResult> units;
    private final PCollection<DeadLetter> errors;

    private Result(
        PCollection<AnswerRow> answers,
        PCollection<StageResult> units,
        PCollection<DeadLetter> errors) {
      this.answers = answers;
      this.units = units;
      this.errors = errors;
    }

    /** One row for each question that was answered. */
    public PCollection<AnswerRow> answers() {
      return answers;
    }

    /** One result for each unit of questions; {@link ScoreAnswers} scores them. */
    public PCollection<StageResult> units() {
      return units;
    }

    /** Refused questions. */
    public PCollection<DeadLetter> errors() {
      return errors;
    }

    @Override
    public Pipeline getPipeline() {
      return answers.getPipeline();
    }

    @Override
    public Map<TupleTag<?>, PValue> expand() {
      return Map.of(
          ANSWERS, answers, StageOutputs.RESULTS, units, StageOutputs.DEAD_LETTERS, errors);
    }

    @Override
    public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}
  }
}
