package io.gracebeam.worker.server;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.OperationRequest;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;

/** Kinds of operations: the inputs they need and what they publish. */
enum WorkKind {
  PREPARE("model"),
  TRAIN("trained"),
  AVERAGE("trained"),
  EXPORT("model");

  private final String output;

  WorkKind(String output) {
    this.output = output;
  }

  /** Name of the stage, as in capabilities and manifests. */
  String stage() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** Kind of the artifact that is published. */
  String output() {
    return output;
  }

  /** The kind of a request. */
  static WorkKind of(OperationRequest request, List<String> capabilities) {
    WorkKind kind =
        switch (request.getWorkCase()) {
          case PREPARE -> PREPARE;
          case TRAIN -> TRAIN;
          case AVERAGE -> AVERAGE;
          case EXPORT -> EXPORT;
          case WORK_NOT_SET ->
              throw GraceException.user(
                  "operation %s: no work that this worker knows; allowed: %s",
                  request.getId(), String.join(", ", capabilities));
        };
    if (!capabilities.contains(kind.stage())) {
      throw GraceException.user(
          "operation %s: this worker cannot %s; it can: %s",
          request.getId(), kind.stage(), String.join(", ", capabilities));
    }
    return kind;
  }

  /** Refuses a request that lacks an input which every work of the kind needs. */
  void requireInputs(OperationRequest request) {
    List<String> needed = new ArrayList<>();
    switch (this) {
      case PREPARE -> needed.add("dataset");
      case TRAIN -> {
        needed.add("student");
        needed.add("dataset");
      }
      case AVERAGE -> {
        int shards = request.getAverage().getShards();
        if (shards < 1 || shards > 4096) {
          throw GraceException.user("average.shards: %d is not in 1..4096", shards);
        }
        needed.add("previous");
        for (int shard = 0; shard < shards; shard++) {
          needed.add("shard-" + shard);
        }
      }
      case EXPORT -> {
        if (!request.containsInputs("trained")) {
          needed.add("model");
        }
      }
    }
    for (String role : needed) {
      if (!request.containsInputs(role)) {
        throw GraceException.user(
            "%s: input '%s' is missing; given: %s",
            stage(), role, new TreeSet<>(request.getInputsMap().keySet()));
      }
    }
  }
}
