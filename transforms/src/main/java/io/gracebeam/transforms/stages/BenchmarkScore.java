package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.scoring.Score;
import java.util.Map;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;

/** How a model did on one benchmark, by the benchmark's official rule. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class BenchmarkScore {

  /** The model: what the answering tasks' ids have before the benchmark's name. */
  public abstract String getModel();

  /** Name of the benchmark. */
  public abstract String getBenchmark();

  /** Extraction and scoring rule. */
  public abstract String getScorer();

  /** Figures by name; "accuracy", the mean credit in [0, 1], always. */
  public abstract Map<String, Double> getMetrics();

  /** Scored units: questions or circular groups. */
  public abstract int getTotal();

  /** Answers from which nothing could be extracted. */
  public abstract int getUnparsed();

  /** Questions without a usable answer; they have no credit. */
  public abstract int getMissing();

  /** A score. */
  @SchemaCreate
  public static BenchmarkScore of(
      String model,
      String benchmark,
      String scorer,
      Map<String, Double> metrics,
      int total,
      int unparsed,
      int missing) {
    return new AutoValue_BenchmarkScore(
        model, benchmark, scorer, metrics, total, unparsed, missing);
  }

  static BenchmarkScore of(String model, String benchmark, Score score) {
    return of(
        model,
        benchmark,
        score.scorer(),
        score.metrics(),
        score.units().size(),
        score.unparsed(),
        score.missing());
  }
}
