package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.artifact.testing.BlobFaults;
import io.gracebeam.proto.artifact.testing.HostileBlobs;
import io.gracebeam.proto.v1.EngineSettings;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The whole loop on worker processes: their number, and the death of one of them, leave no trace in
 * what a run makes.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
@Timeout(600)
class WholeRunTest {
  private static final int RESULTS_BEFORE_TRAINING = 4;

  @TempDir static Path temp;

  private ObjectNode alone;

  /** What a run of {@link TinyRun} leaves in a folder. */
  private static ObjectNode run(String name, List<WorkerProcess> processes) {
    Path folder = temp.resolve(name);
    List<String> endpoints = processes.stream().map(WorkerProcess::endpoint).toList();
    try (RunFolder open = RunFolder.open(folder);
        WorkerSet workers = WorkerSet.open(endpoints, EngineSettings.getDefaultInstance())) {
      return TinyRun.in(open)
          .execute(
              workers,
              RunBackend.named("direct"),
              PipelineOptionsFactory.create(),
              new Progress(new PrintStream(PrintStream.nullOutputStream()), false, true));
    }
  }

  private static List<WorkerProcess> workers(String name, int count) throws IOException {
    Path logs = Files.createDirectories(temp.resolve("logs-" + name));
    return WorkerProcess.start(count, logs);
  }

  /** A report without what may differ: times, and whether the store had a result. */
  private static String facts(ObjectNode report) {
    ObjectNode facts = report.deepCopy();
    facts.remove("timings");
    facts.path("artifacts").forEach(artifact -> ((ObjectNode) artifact).remove("cached"));
    return ReportFiles.text(facts);
  }

  /** Digests by stage. */
  private static SortedMap<String, String> artifacts(ObjectNode report) {
    SortedMap<String, String> digests = new TreeMap<>();
    for (JsonNode artifact : report.path("artifacts")) {
      digests.put(artifact.path("name").asText(), artifact.path("sha256").asText());
    }
    return digests;
  }

  /** Every file of a folder by its path, with its digest and time. */
  private static SortedMap<String, String> files(Path folder) throws IOException {
    SortedMap<String, String> files = new TreeMap<>();
    try (Stream<Path> paths = Files.walk(folder)) {
      for (Path path : paths.filter(Files::isRegularFile).toList()) {
        files.put(
            folder.relativize(path).toString(),
            Digests.sha256(path) + " " + Files.getLastModifiedTime(path));
      }
    }
    return files;
  }

  @BeforeAll
  void oneWorker() throws IOException {
    List<WorkerProcess> processes = workers("alone", 1);
    try {
      alone = run("alone", processes);
    } finally {
      processes.forEach(WorkerProcess::close);
    }
    assertThat(artifacts(alone))
        .containsKeys("average/grace-int4/s0/r1", "export/grace-int4/s0", "export/rtn-int4/s0");
    assertThat(alone.path("ledger")).isEmpty();
  }

  /** The worker of this process fetches its inputs from the store, and publishes there. */
  @Test
  void aStoreOfBlobsWithFaultsMakesTheSameBytes() {
    EngineSettings engine = EngineSettings.newBuilder().setThreads(1).build(); // as the processes
    HostileBlobs blobs = HostileBlobs.create(BlobFaults.all(5));
    try (RunFolder open = RunFolder.open(temp.resolve("blobs"), Optional.of(blobs.root()));
        WorkerSet workers = WorkerSet.open(List.of(), engine)) {
      ObjectNode report =
          TinyRun.in(open)
              .execute(
                  workers,
                  RunBackend.named("direct"),
                  PipelineOptionsFactory.create(),
                  new Progress(new PrintStream(PrintStream.nullOutputStream()), false, true));
      assertThat(artifacts(report)).isEqualTo(artifacts(alone));
    }
    assertThat(temp.resolve("blobs/store")).doesNotExist();
  }

  @Test
  void threeWorkersMakeTheSameBytes() throws IOException {
    List<WorkerProcess> processes = workers("three", 3);
    try {
      ObjectNode three = run("three", processes);
      assertThat(artifacts(three)).isEqualTo(artifacts(alone));
      assertThat(facts(three)).isEqualTo(facts(alone));
      assertThat(three.path("timings").path("workers").asInt()).isEqualTo(3);
    } finally {
      processes.forEach(WorkerProcess::close);
    }
  }

  @Test
  void aWorkerKilledInTheMiddleOfTrainingChangesNoByte() throws Exception {
    List<WorkerProcess> processes = workers("killed", 3);
    AtomicReference<String> killed = new AtomicReference<>();
    Thread killer =
        new Thread(() -> killed.set(killOneThatTrains(temp.resolve("killed"), processes)));
    killer.setDaemon(true);
    killer.start();
    try {
      ObjectNode report = run("killed", processes);
      killer.join(10_000);
      assertThat(killed.get()).as("stage key of the training that was cut").isNotNull();
      assertThat(processes.stream().filter(WorkerProcess::alive)).hasSize(2);
      assertThat(artifacts(report)).isEqualTo(artifacts(alone));
      assertThat(facts(report)).isEqualTo(facts(alone));
      assertThat(report.path("artifacts"))
          .as("the cut training was done again, by another worker")
          .anyMatch(a -> a.path("stageKey").asText().equals(killed.get()));
    } finally {
      killer.interrupt();
      processes.forEach(WorkerProcess::close);
    }
  }

  /** Waits until a worker is inside a training step of a student, kills it, and tells the key. */
  private static String killOneThatTrains(Path folder, List<WorkerProcess> processes) {
    try {
      while (true) {
        Thread.sleep(2);
        List<String> ended = Recorded.ended(folder.resolve("results"));
        if (ended.size() < RESULTS_BEFORE_TRAINING || !ended.contains("signals")) {
          continue;
        }
        for (String key : begun(folder.resolve("store"))) {
          for (WorkerProcess worker : processes) {
            if (worker.computes(key)) {
              worker.kill();
              return key;
            }
          }
        }
      }
    } catch (InterruptedException e) {
      return null;
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  /** Keys of stages that somebody is writing. */
  private static List<String> begun(Path store) throws IOException {
    try (Stream<Path> paths = Files.list(store.resolve("tmp"))) {
      return paths
          .map(path -> path.getFileName().toString())
          .filter(name -> !name.endsWith(".json"))
          .map(name -> name.substring(0, name.indexOf('.')))
          .toList();
    } catch (NoSuchFileException e) {
      return List.of();
    }
  }

  @Test
  void aSecondRunReadsEverythingFromTheStore() throws IOException {
    Path folder = temp.resolve("alone");
    SortedMap<String, String> before = files(folder.resolve("store"));
    List<WorkerProcess> processes = workers("again", 2);
    try {
      List<String> endpoints = processes.stream().map(WorkerProcess::endpoint).toList();
      try (RunFolder open = RunFolder.open(folder);
          WorkerSet workers = WorkerSet.open(endpoints, EngineSettings.getDefaultInstance())) {
        assertThat(TinyRun.in(open).forecast(workers).values())
            .containsOnly(Forecast.Fate.CACHED)
            .hasSizeGreaterThan(20);
      }
      ObjectNode again = run("alone", processes);
      assertThat(again.path("artifacts")).allMatch(a -> a.path("cached").asBoolean());
      assertThat(facts(again)).isEqualTo(facts(alone));
    } finally {
      processes.forEach(WorkerProcess::close);
    }
    assertThat(files(folder.resolve("store"))).isEqualTo(before);
    ArtifactStore store = ArtifactStore.open(folder.resolve("store"));
    for (JsonNode artifact : alone.path("artifacts")) {
      Optional<?> found = store.find(artifact.path("stageKey").asText());
      assertThat(found).isPresent();
      store.verify(store.find(artifact.path("stageKey").asText()).orElseThrow());
    }
  }
}
