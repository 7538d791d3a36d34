package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.statistics.GateSample;
import io.gracebeam.transforms.statistics.GateStatistics;
import io.gracebeam.transforms.statistics.GateStatisticsFn;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.SerializableCoder;
import org.apache.beam.sdk.transforms.Combine;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TupleTagList;

/**
 * Gathers how well the teacher's entropy tells its errors: one {@link GateStatistics} over all
 * tokens, by question type.
 *
 * <p>Sums are exact, so the figures are the same for every order and bundling. A token whose
 * numbers are out of range is a dead letter.
 */
@AutoValue
public abstract class GatherGateStatistics
    extends PTransform<PCollection<TokenRow>, GatherGateStatistics.Result> {
  private static final TupleTag<GateSample> SAMPLES = new TupleTag<>("samples") {};
  private static final TupleTag<GateStatistics> STATISTICS = new TupleTag<>("statistics") {};

  /** Size of the teacher's logit axis. */
  public abstract int vocabulary();

  /**
   * Statistics of a teacher with that many logits.
   *
   * @throws GraceException (user) if fewer than 2
   */
  public static GatherGateStatistics ofVocabulary(int vocabulary) {
    if (vocabulary < 2) {
      throw GraceException.user(
          "gate statistics: vocabulary is %d; it must be at least 2", vocabulary);
    }
    return new AutoValue_GatherGateStatistics(vocabulary);
  }

  @Override
  public Result expand(PCollection<TokenRow> tokens) {
    PCollectionTuple samples =
        tokens.apply(
            "ToSamples",
            ParDo.of(new ToSampleFn(vocabulary()))
                .withOutputTags(SAMPLES, TupleTagList.of(StageOutputs.DEAD_LETTERS)));
    PCollection<GateStatistics> statistics =
        samples
            .get(SAMPLES)
            .setCoder(SerializableCoder.of(GateSample.class))
            .apply("Combine", Combine.globally(new GateStatisticsFn()))
            .setCoder(GateStatisticsFn.StatisticsCoder.of());
    return new Result(statistics, samples.get(StageOutputs.DEAD_LETTERS));
  }

  private static final class ToSampleFn extends DoFn<TokenRow, GateSample> {
    private static final long serialVersionUID = 1L;
    private final int vocabulary;

    ToSampleFn(int vocabulary) {
      this.vocabulary = vocabulary;
    }

    @ProcessElement
    public void process(@Element TokenRow token, MultiOutputReceiver out) {
      try {
        out.get(SAMPLES)
            .output(
                new GateSample(
                    token.getType(),
                    token.getEntropy(),
                    vocabulary,
                    token.getTopProbability(),
                    token.getCorrect() ? 0 : 1));
      } catch (IllegalArgumentException e) {
        out.get(StageOutputs.DEAD_LETTERS)
            .output(
                DeadLetter.of(
                    "gate-statistics",
                    token.getTaskId(),
                    token.getExampleId(),
                    "token " + token.getPosition() + ": " + e.getMessage()));
      }
    }
  }

  /** One element of statistics, and the tokens that were no use. */
  public static final class Result implements POutput {
    private final PCollection<GateStatistics> statistics;
    private final PCollection<DeadLetter> deadLetters;

    Result(PCollection<GateStatistics> statistics, PCollection<DeadLetter> deadLetters) {
      this.statistics = statistics;
      this.deadLetters = deadLetters;
    }

    /** Exactly one element, also for no tokens. */
    public PCollection<GateStatistics> statistics() {
      return statistics;
    }

    /** Tokens whose numbers are out of range. */
    public PCollection<DeadLetter> deadLetters() {
      return deadLetters;
    }

    @Override
    public Pipeline getPipeline() {
      return statistics.getPipeline();
    }

    @Override
    public Map<TupleTag<?>, PValue> expand() {
      return Map.of(STATISTICS, statistics, StageOutputs.DEAD_LETTERS, deadLetters);
    }

    @Override
    public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}
  }
}
