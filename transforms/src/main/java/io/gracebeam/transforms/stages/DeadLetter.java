package io.gracebeam.transforms.stages;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.auto.value.AutoValue;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.errorhandling.BadRecord;
import org.apache.beam.sdk.values.PCollection;

/** A record that could not be used: which, where, and why. Everything else of the run goes on. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class DeadLetter {

  /** Stage that refused it. */
  public abstract String getStage();

  /** Task in which it was refused. */
  public abstract String getTaskId();

  /** Id of the example, question or task. */
  public abstract String getId();

  /** One line. */
  public abstract String getReason();

  /** A dead letter. */
  @SchemaCreate
  public static DeadLetter of(String stage, String taskId, String id, String reason) {
    return new AutoValue_DeadLetter(stage, taskId, id, reason);
  }

  /**
   * Dead letters as Beam's bad records, for {@code ErrorHandler.addErrorCollection}: the record
   * names stage, task and id, the failure is the reason.
   */
  public static PTransform<PCollection<DeadLetter>, PCollection<BadRecord>> toBadRecords() {
    return new ToBadRecords();
  }

  private static final class ToBadRecords
      extends PTransform<PCollection<DeadLetter>, PCollection<BadRecord>> {
    private static final long serialVersionUID = 1L;

    @Override
    public PCollection<BadRecord> expand(PCollection<DeadLetter> letters) {
      return letters
          .apply(ParDo.of(new ToBadRecordFn()))
          .setCoder(BadRecord.getCoder(letters.getPipeline()));
    }
  }

  private static final class ToBadRecordFn extends DoFn<DeadLetter, BadRecord> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element DeadLetter letter, OutputReceiver<BadRecord> out) {
      ObjectNode record = new ObjectMapper().createObjectNode();
      record.put("stage", letter.getStage());
      record.put("task", letter.getTaskId());
      record.put("id", letter.getId());
      out.output(
          BadRecord.builder()
              .setRecord(
                  BadRecord.Record.builder().setHumanReadableJsonRecord(record.toString()).build())
              .setFailure(BadRecord.Failure.builder().setDescription(letter.getReason()).build())
              .build());
    }
  }
}
