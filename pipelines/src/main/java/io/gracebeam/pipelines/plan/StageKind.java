package io.gracebeam.pipelines.plan;

/** What a stage does, in the order of a run. */
public enum StageKind {
  /** Makes a starting checkpoint: tower pre-training, then instruction training. */
  PREPARE,
  /** Teacher signals of one unit of examples. */
  EXTRACT,
  /** Joins the units of teacher signals and measures gate statistics. */
  SIGNALS,
  /** Trains one logical shard for one round. */
  TRAIN,
  /** Outer step over the shards of one round. */
  AVERAGE,
  /** Writes the checkpoint that users deploy. */
  EXPORT,
  /** Greedy answers to one unit of benchmark questions. */
  ANSWER,
  /** Token similarities of one model on one example, for the report's maps. */
  GRAM;

  /** Lower-case name, as it appears in stage keys and in {@code grace plan}. */
  public String label() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }
}
