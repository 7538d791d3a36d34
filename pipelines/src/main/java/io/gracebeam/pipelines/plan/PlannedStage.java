package io.gracebeam.pipelines.plan;

import com.google.protobuf.Message;
import io.gracebeam.proto.stage.StageKind;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/**
 * One stage of a run: what to do and which earlier results it reads.
 *
 * @param id unique within the plan, for instance {@code train/grace-int4/s0/r0/k0}
 * @param kind what it does: a row of the stage table
 * @param inputs role to the id of the stage whose artifact it reads; an id that starts with
 *     {@code @} is an artifact that exists before the run ({@code @dataset}, {@code @teacher},
 *     {@code @student}, {@code @benchmark/NAME})
 * @param work the recipe part that it reads; with the inputs' digests, the engine and the seed it
 *     makes the stage key
 * @param seed seed of its random numbers
 * @param variant row of the table that it belongs to; empty if several share it
 * @param wave length of the longest chain of stages below it; stages of one wave do not depend on
 *     each other
 */
public record PlannedStage(
    String id,
    StageKind kind,
    Map<String, String> inputs,
    Message work,
    long seed,
    String variant,
    int wave) {

  /** Sorts the roles, so that two equal plans print alike. */
  public PlannedStage {
    inputs = Collections.unmodifiableMap(new TreeMap<>(inputs));
  }
}
