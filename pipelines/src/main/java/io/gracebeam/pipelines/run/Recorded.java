package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;
import java.util.stream.Stream;
import org.apache.beam.sdk.transforms.DoFn;

/**
 * What a pipeline leaves for the process that launched it: one small file per result and per dead
 * letter, named after its content's identity, so that a bundle that runs twice leaves one.
 */
final class Recorded {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Recorded() {}

  /** A finished stage as JSON. */
  private record Result(
      String taskId,
      String stage,
      byte[] manifest,
      boolean cached,
      double workerSeconds,
      double wallSeconds,
      long endMillis) {}

  /** A refused record as JSON. */
  private record Refused(String stage, String taskId, String id, String reason) {}

  static final class WriteResult extends DoFn<StageResult, Void> {
    private static final long serialVersionUID = 1L;
    private final String folder;

    WriteResult(Path folder) {
      this.folder = folder.toString();
    }

    @ProcessElement
    public void process(@Element StageResult result) {
      write(
          folder,
          result.getTaskId() + ".result",
          new Result(
              result.getTaskId(),
              result.getStage(),
              result.getManifest(),
              result.getCached(),
              result.getWorkerSeconds(),
              result.getWallSeconds(),
              result.getEndMillis()));
    }
  }

  static final class WriteRefused extends DoFn<DeadLetter, Void> {
    private static final long serialVersionUID = 1L;
    private final String folder;

    WriteRefused(Path folder) {
      this.folder = folder.toString();
    }

    @ProcessElement
    public void process(@Element DeadLetter letter) {
      String name =
          Digests.sha256(
              (letter.getTaskId() + "\n" + letter.getId()).getBytes(StandardCharsets.UTF_8));
      write(
          folder,
          name + ".refused",
          new Refused(letter.getStage(), letter.getTaskId(), letter.getId(), letter.getReason()));
    }
  }

  private static void write(String folder, String name, Object value) {
    Path file = Path.of(folder, name.replace('/', '~'));
    Path temporary = Path.of(folder, UUID.randomUUID() + ".tmp");
    try {
      Files.write(temporary, JSON.writeValueAsBytes(value));
      Files.move(temporary, file, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be written: %s", file, e.getMessage())
          .withCause(e);
    }
  }

  /** Names of the tasks that have ended so far. */
  static List<String> ended(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> file.getFileName().toString())
          .filter(name -> name.endsWith(".result"))
          .map(name -> name.substring(0, name.length() - ".result".length()).replace('~', '/'))
          .sorted()
          .toList();
    } catch (IOException e) {
      return List.of();
    }
  }

  /** All results and refused records. */
  static SubmittedRun.Results read(Path folder) {
    Map<String, StageResult> finished = new TreeMap<>();
    for (Result result : read(folder, ".result", Result.class)) {
      finished.put(
          result.taskId(),
          StageResult.of(
              result.taskId(),
              result.stage(),
              result.manifest(),
              result.cached(),
              result.workerSeconds(),
              result.wallSeconds(),
              result.endMillis()));
    }
    return new SubmittedRun.Results(
        finished,
        read(folder, ".refused", Refused.class).stream()
            .map(one -> DeadLetter.of(one.stage(), one.taskId(), one.id(), one.reason()))
            .toList());
  }

  private static <T> List<T> read(Path folder, String ending, Class<T> type) {
    List<T> values = new ArrayList<>();
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(f -> f.toString().endsWith(ending)).sorted().toList()) {
        values.add(JSON.readValue(Files.readAllBytes(file), type));
      }
    } catch (IOException e) {
      throw GraceException.environment("%s: cannot be read: %s", folder, e.getMessage())
          .withCause(e);
    }
    return values;
  }
}
