package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.OperationRequest.WorkCase;
import io.gracebeam.transforms.client.Workers;
import java.util.Map;
import org.apache.beam.sdk.values.PCollectionView;

/**
 * Makes starting models: tower pre-training, then instruction training from scratch.
 *
 * <p>Request: {@code OperationRequest} with {@code prepare}. Inputs: "dataset". Result: a "model".
 */
@AutoValue
public abstract class PrepareModels extends WorkerStage<PrepareModels> {

  /** The stage on the given workers. */
  public static PrepareModels of(Workers workers) {
    return new AutoValue_PrepareModels(workers, null);
  }

  @Override
  public PrepareModels withEarlier(PCollectionView<Map<String, byte[]>> earlier) {
    return new AutoValue_PrepareModels(workers(), earlier);
  }

  @Override
  StageCall call() {
    return OperationCall.of(WorkCase.PREPARE);
  }
}
