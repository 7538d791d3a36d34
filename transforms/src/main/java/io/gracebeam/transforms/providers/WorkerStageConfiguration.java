package io.gracebeam.transforms.providers;

import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.client.Workers;
import java.util.List;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;
import org.apache.beam.sdk.schemas.annotations.SchemaFieldDescription;
import org.checkerframework.checker.nullness.qual.Nullable;

/** Configuration of every stage that calls workers. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
public abstract class WorkerStageConfiguration {

  /** Addresses. */
  @SchemaFieldDescription("Addresses of the workers, host:port.")
  public abstract List<String> getWorkers();

  /** Bound on calls in flight. */
  @SchemaFieldDescription("Calls in flight per worker and JVM; default 4.")
  public abstract @Nullable Integer getMaxInFlight();

  /** A configuration. */
  @SchemaCreate
  public static WorkerStageConfiguration of(List<String> workers, @Nullable Integer maxInFlight) {
    return new AutoValue_WorkerStageConfiguration(workers, maxInFlight);
  }

  Workers client() {
    Workers client = Workers.of(getWorkers());
    return getMaxInFlight() == null ? client : client.withMaxInFlight(getMaxInFlight());
  }
}
