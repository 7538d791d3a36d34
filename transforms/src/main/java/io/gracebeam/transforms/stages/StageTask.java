package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.ArtifactRef;
import java.util.Map;
import java.util.TreeMap;
import org.apache.beam.sdk.schemas.AutoValueSchema;
import org.apache.beam.sdk.schemas.annotations.DefaultSchema;

/**
 * One unit of work of a stage, fixed by the recipe: what to do, from which inputs, into which
 * store.
 *
 * <p>An input is either the result of an earlier task, {@code @task-id}, optionally a folder inside
 * it, {@code @task-id#folder}, or a literal {@link ArtifactRef} in its JSON form (see {@link
 * #literal}).
 */
@AutoValue
@DefaultSchema(AutoValueSchema.class)
@SuppressWarnings("mutable")
public abstract class StageTask {

  /** Unique in the pipeline, for instance {@code train/grace-int4/seed-0/round-0/shard-1}. */
  public abstract String getId();

  /** Stage name: "extract", "train", ... */
  public abstract String getStage();

  /** Version of the stage's meaning; part of the stage key. */
  public abstract int getVersion();

  /** Serialized work message: of the type that the stage's row in the stage table names. */
  public abstract byte[] getWork();

  /** Role to reference or literal. */
  public abstract Map<String, String> getInputs();

  /** Seed of everything random in this task. */
  public abstract long getSeed();

  /** URI of the artifact store. */
  public abstract String getStore();

  /** A builder without inputs, of version 1 and seed 0. */
  public static Builder builder() {
    return new AutoValue_StageTask.Builder().setVersion(1).setSeed(0).setInputs(Map.of());
  }

  /**
   * A task without inputs; add them with {@link #withInput} and {@link #withReference}.
   *
   * @param kind row of the stage table
   * @param work what to do
   * @throws GraceException (bug) where the work is not of the kind's type
   */
  public static StageTask of(String id, StageKind kind, Message work, long seed, String store) {
    return builder()
        .setId(id)
        .setStage(kind.name())
        .setVersion(kind.version())
        .setWork(Deterministic.bytes(kind.check(id, work)))
        .setSeed(seed)
        .setStore(store)
        .build();
  }

  /** A task as the other {@code of} makes it, of the kind that has a name in the stage table. */
  public static StageTask of(String id, String stage, Message work, long seed, String store) {
    return of(id, StageTable.load().get(stage), work, seed, store);
  }

  abstract Builder toBuilder();

  /** This task with a given artifact as input. */
  public StageTask withInput(String role, ArtifactRef artifact) {
    return with(role, literal(artifact));
  }

  /**
   * This task with the result of an earlier task as input; {@code taskId} may end in {@code
   * #folder}.
   */
  public StageTask withReference(String role, String taskId) {
    return with(role, "@" + taskId);
  }

  private StageTask with(String role, String value) {
    Map<String, String> inputs = new TreeMap<>(getInputs());
    inputs.put(role, value);
    return toBuilder().setInputs(inputs).build();
  }

  /** An artifact as an input's literal form. */
  public static String literal(ArtifactRef artifact) {
    try {
      return JsonFormat.printer().omittingInsignificantWhitespace().print(artifact);
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug("artifact reference cannot be printed: %s", e.getMessage())
          .withCause(e);
    }
  }

  /** Builder. */
  @AutoValue.Builder
  public abstract static class Builder {
    /** Sets the task's id. */
    public abstract Builder setId(String id);

    /** Sets the stage's name. */
    public abstract Builder setStage(String stage);

    /** Sets the stage's version. */
    public abstract Builder setVersion(int version);

    /** Sets the serialized work message. */
    public abstract Builder setWork(byte[] work);

    /** Sets all inputs. */
    public abstract Builder setInputs(Map<String, String> inputs);

    /** Sets the seed. */
    public abstract Builder setSeed(long seed);

    /** Sets the store's URI. */
    public abstract Builder setStore(String store);

    /** The task. */
    public abstract StageTask build();
  }
}
