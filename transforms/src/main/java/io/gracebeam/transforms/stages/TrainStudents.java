package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.proto.v1.OperationRequest.WorkCase;
import io.gracebeam.transforms.client.Workers;
import java.util.Map;
import org.apache.beam.sdk.values.PCollectionView;

/**
 * Trains logical shards, and averages them in the outer step.
 *
 * <p>Request: {@code OperationRequest} with {@code train} (inputs "student", "dataset", with
 * distillation "signals", from round 1 on "state") or with {@code average} (inputs "previous",
 * "shard-0" .. "shard-K-1"). Result: a "trained" folder. A round's shards and its outer step are
 * two applications, the second with the first's results as earlier ones.
 */
@AutoValue
public abstract class TrainStudents extends WorkerStage<TrainStudents> {

  /** The stage on the given workers. */
  public static TrainStudents of(Workers workers) {
    return new AutoValue_TrainStudents(workers, null);
  }

  @Override
  public TrainStudents withEarlier(PCollectionView<Map<String, byte[]>> earlier) {
    return new AutoValue_TrainStudents(workers(), earlier);
  }

  @Override
  StageCall call() {
    return OperationCall.of(WorkCase.TRAIN, WorkCase.AVERAGE);
  }
}
