package io.gracebeam.proto.stage;

/** Who runs a stage. */
public enum Executor {
  /** A GPU worker, over gRPC. The worker's engine is part of the stage key. */
  WORKER,
  /** The process that runs the pipeline. Its result does not depend on an engine. */
  LOCAL
}
