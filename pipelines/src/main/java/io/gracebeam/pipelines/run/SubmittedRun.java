package io.gracebeam.pipelines.run;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** A pipeline that a {@link RunBackend} executes. Safe for use by several threads. */
public interface SubmittedRun {

  /** What has ended so far. May lag behind; never throws for that. */
  Status progress();

  /**
   * Waits for the end.
   *
   * @throws GraceException (user) if the run was canceled
   * @throws RuntimeException if the pipeline failed, with the stage's {@link GraceException} among
   *     its causes
   */
  Results results();

  /**
   * Stops the pipeline soon; what is published stays. Does nothing after the end, or a second time.
   */
  void cancel();

  /**
   * How far a run is.
   *
   * @param ended ids of the stages that have a result, sorted
   * @param running a line for each long call under way, as far as this process knows
   */
  record Status(List<String> ended, List<String> running) {
    /** Keeps copies. */
    public Status {
      ended = List.copyOf(ended);
      running = List.copyOf(running);
    }
  }

  /**
   * What a run yielded.
   *
   * @param finished results by stage id
   * @param refused sorted by stage id and record
   */
  record Results(Map<String, StageResult> finished, List<DeadLetter> refused) {
    /** Keeps sorted copies. */
    public Results {
      finished = Collections.unmodifiableSortedMap(new TreeMap<>(finished));
      refused =
          refused.stream()
              .sorted(Comparator.comparing(DeadLetter::getTaskId).thenComparing(DeadLetter::getId))
              .toList();
    }
  }
}
