package io.gracebeam.transforms.providers;

import com.google.auto.service.AutoService;
import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.stages.GatherGateStatistics;
import io.gracebeam.transforms.stages.TokenRow;
import io.gracebeam.transforms.statistics.GateStatistics;
import java.util.List;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;
import org.apache.beam.sdk.schemas.annotations.SchemaFieldDescription;
import org.apache.beam.sdk.schemas.transforms.Convert;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.schemas.transforms.TypedSchemaTransformProvider;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.apache.beam.sdk.values.Row;

/**
 * Offers {@link GatherGateStatistics} as {@code
 * beam:schematransform:io.gracebeam:gather_gate_statistics:v1}. Input "input": the fields of {@link
 * TokenRow}; outputs "output": one row with the count and the serialized statistics, and "errors".
 */
@AutoService(SchemaTransformProvider.class)
public final class GatherGateStatisticsProvider
    extends TypedSchemaTransformProvider<GatherGateStatisticsProvider.Configuration> {
  private static final Schema OUTPUT_SCHEMA =
      Schema.builder().addInt64Field("count").addByteArrayField("statistics").build();

  /** Configuration. */
  @AutoValue
  @DefaultSchema(AutoValueSchema.class)
  public abstract static class Configuration {
    /** Size of the teacher's logit axis. */
    @SchemaFieldDescription("Size of the teacher's logit axis, at least 2.")
    public abstract int getVocabulary();

    /** A configuration. */
    @SchemaCreate
    public static Configuration of(int vocabulary) {
      return new AutoValue_GatherGateStatisticsProvider_Configuration(vocabulary);
    }
  }

  @Override
  public String identifier() {
    return "beam:schematransform:io.gracebeam:gather_gate_statistics:v1";
  }

  @Override
  public String description() {
    return "Gathers how well a teacher's entropy tells its errors.";
  }

  @Override
  public List<String> inputCollectionNames() {
    return List.of(RunStagesProvider.INPUT);
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(RunStagesProvider.OUTPUT, RunStagesProvider.ERRORS);
  }

  @Override
  protected SchemaTransform from(Configuration configuration) {
    return new OnRows(GatherGateStatistics.ofVocabulary(configuration.getVocabulary()));
  }

  private static final class OnRows extends SchemaTransform {
    private final transient GatherGateStatistics gather;

    OnRows(GatherGateStatistics gather) {
      this.gather = gather;
    }

    @Override
    public PCollectionRowTuple expand(PCollectionRowTuple rows) {
      GatherGateStatistics.Result result =
          rows.get(RunStagesProvider.INPUT)
              .apply("ToTokens", Convert.fromRows(TokenRow.class))
              .apply("Gather", gather);
      return PCollectionRowTuple.of(
          RunStagesProvider.OUTPUT,
          result.statistics().apply("ToRow", ParDo.of(new ToRowFn())).setRowSchema(OUTPUT_SCHEMA),
          RunStagesProvider.ERRORS,
          result.deadLetters().apply("FromDeadLetters", Convert.toRows()));
    }
  }

  private static final class ToRowFn extends DoFn<GateStatistics, Row> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element GateStatistics statistics, OutputReceiver<Row> out) {
      out.output(
          Row.withSchema(OUTPUT_SCHEMA)
              .addValues(statistics.count(), statistics.toBytes())
              .build());
    }
  }
}
