package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.OperationRequest.WorkCase;
import io.gracebeam.transforms.client.Workers;
import java.util.Map;
import org.apache.beam.sdk.values.PCollectionView;

/**
 * Exports students as pack-quantized or dense folders.
 *
 * <p>Request: {@code OperationRequest} with {@code export}. Inputs: "trained" or "model". Result: a
 * "model".
 */
@AutoValue
public abstract class ExportInt4 extends WorkerStage<ExportInt4> {

  /** The stage on the given workers. */
  public static ExportInt4 of(Workers workers) {
    return new AutoValue_ExportInt4(workers, null);
  }

  @Override
  public ExportInt4 withEarlier(PCollectionView<Map<String, byte[]>> earlier) {
    return new AutoValue_ExportInt4(workers(), earlier);
  }

  @Override
  StageCall call() {
    return OperationCall.of(WorkCase.EXPORT);
  }
}
