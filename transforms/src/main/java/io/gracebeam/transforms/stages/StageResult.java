package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import com.google.protobuf.InvalidProtocolBufferException;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Manifest;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;
import org.apache.beam.sdk.schemas.annotations.SchemaCreate;

/** What a task published, and what it cost. Only the manifest is the same in every run. */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
@SuppressWarnings("mutable")
public abstract class StageResult {

  /** The task's id. */
  public abstract String getTaskId();

  /** The task's stage. */
  public abstract String getStage();

  /** Serialized {@link Manifest}. */
  public abstract byte[] getManifest();

  /** True if the artifact was there already and no worker was called. */
  public abstract boolean getCached();

  /** Compute time of the worker, seconds; 0 if cached. */
  public abstract double getWorkerSeconds();

  /** Time from look-up to publication as seen here, seconds. */
  public abstract double getWallSeconds();

  /** When the stage ended, milliseconds since 1970. */
  public abstract long getEndMillis();

  /** A result. */
  @SchemaCreate
  public static StageResult of(
      String taskId,
      String stage,
      byte[] manifest,
      boolean cached,
      double workerSeconds,
      double wallSeconds,
      long endMillis) {
    return new AutoValue_StageResult(
        taskId, stage, manifest, cached, workerSeconds, wallSeconds, endMillis);
  }

  /**
   * The manifest, parsed.
   *
   * @throws GraceException (bug) if the bytes are no manifest
   */
  public Manifest manifest() {
    return parse(getTaskId(), getManifest());
  }

  static Manifest parse(String taskId, byte[] bytes) {
    try {
      return Manifest.parseFrom(bytes);
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug("result of %s is no manifest: %s", taskId, e.getMessage())
          .withCause(e);
    }
  }
}
