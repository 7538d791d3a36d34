package io.gracebeam.pipelines.run;

import io.gracebeam.proto.v1.Manifest;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What a finished run knows.
 *
 * @param stages in the plan's order
 * @param ledger refused records
 * @param wallSeconds of the pipeline
 * @param workers how many there were
 * @param photo the example whose token similarities are drawn; empty for none
 */
record ReportInput(
    List<Stage> stages,
    List<Map<String, Object>> ledger,
    double wallSeconds,
    int workers,
    Optional<ShownPhoto> photo) {

  /**
   * A finished stage.
   *
   * @param id as planned
   * @param kind as planned
   * @param cached whether the store had it
   * @param workerSeconds compute time of the worker; 0 if cached
   * @param endMillis when it ended, milliseconds since 1970
   */
  record Stage(
      String id,
      String kind,
      Manifest manifest,
      boolean cached,
      double workerSeconds,
      double wallSeconds,
      long endMillis) {

    /** As a row of {@code stages.jsonl}. */
    Map<String, Object> row() {
      Map<String, Object> row = new LinkedHashMap<>();
      row.put("id", id);
      row.put("stage", kind);
      row.put("key", manifest.getStageKey());
      row.put("sha256", manifest.getArtifact().getSha256());
      row.put("uri", manifest.getArtifact().getUri());
      row.put("bytes", manifest.getArtifact().getBytes());
      row.put("cached", cached);
      row.put("workerSeconds", workerSeconds);
      row.put("wallSeconds", wallSeconds);
      return row;
    }
  }
}
