package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.GatherGateStatistics;
import io.gracebeam.transforms.stages.TokenRow;
import io.gracebeam.transforms.statistics.GateStatistics;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaFieldDescription;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.schemas.transforms.providers.ErrorHandling;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.Row;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Offers {@link GatherGateStatistics} as {@code
 * beam:schematransform:io.gracebeam:gather_gate_statistics:v1}. Input "input": the fields of {@link
 * TokenRow}. Output "output": one row for all tokens and one for each question type, with type,
 * tokens, mean_entropy (as a share of the largest possible), error_rate, pearson_r, binned_r2 and
 * calibration_error; a figure that is not defined is null.
 */
@AutoService(SchemaTransformProvider.class)
public final class GatherGateStatisticsProvider
    extends GraceProvider<GatherGateStatisticsProvider.Configuration> {

  private static final Schema ROW =
      Schema.builder()
          .addStringField("type")
          .addInt64Field("tokens")
          .addNullableField("mean_entropy", Schema.FieldType.DOUBLE)
          .addNullableField("error_rate", Schema.FieldType.DOUBLE)
          .addNullableField("pearson_r", Schema.FieldType.DOUBLE)
          .addNullableField("binned_r2", Schema.FieldType.DOUBLE)
          .addNullableField("calibration_error", Schema.FieldType.DOUBLE)
          .build();

  /** For the service loader. */
  public GatherGateStatisticsProvider() {
    super(
        "gather_gate_statistics", "Gathers how well a teacher's entropy tells its errors.", INPUT);
  }

  @Override
  protected Class<Configuration> configurationClass() {
    return Configuration.class;
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    GatherGateStatistics gather = GatherGateStatistics.ofVocabulary(configuration.getVocabulary());
    return transform(
        rows -> {
          GatherGateStatistics.Result result =
              rows.get(INPUT)
                  .apply("ToTokens", Convert.fromRows(TokenRow.class))
                  .apply("Gather", gather);
          return outputs(
              result.statistics().apply("ToRows", ParDo.of(new ToRowsFn())).setRowSchema(ROW),
              result.deadLetters(),
              configuration.getErrorHandling());
        });
  }

  private static final class ToRowsFn extends DoFn<GateStatistics, Row> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element GateStatistics statistics, OutputReceiver<Row> out) {
      statistics
          .figures()
          .forEach(
              (type, figures) ->
                  out.output(
                      Row.withSchema(ROW)
                          .addValues(
                              type,
                              figures.count(),
                              defined(figures.meanEntropy()),
                              defined(figures.meanError()),
                              defined(figures.pearson()),
                              defined(figures.binnedR2()),
                              defined(figures.calibrationError()))
                          .build()));
    }

    private static @Nullable Double defined(double figure) {
      return Double.isFinite(figure) ? figure : null;
    }
  }

  /** Configuration. */
  @AutoValue
  @DefaultSchema(AutoValueSchema.class)
  public abstract static class Configuration {
    /** Size of the logit axis of the teacher, at least 2. */
    @SchemaFieldDescription("Size of the logit axis of the teacher, at least 2.")
    public abstract Integer getVocabulary();

    /** Where to send what cannot be used. */
    @SchemaFieldDescription("Where to send what cannot be used; without it the pipeline fails.")
    public abstract @Nullable ErrorHandling getErrorHandling();

    /** A builder without values. */
    public static Builder builder() {
      return new AutoValue_GatherGateStatisticsProvider_Configuration.Builder();
    }

    /** Builder. */
    @AutoValue.Builder
    public abstract static class Builder {
      /** Sets vocabulary. */
      public abstract Builder setVocabulary(Integer vocabulary);

      /** Sets errorHandling. */
      public abstract Builder setErrorHandling(@Nullable ErrorHandling errorHandling);

      /** The configuration. */
      public abstract Configuration build();
    }
  }
}
