package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.StageKeys;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import io.gracebeam.transforms.stages.StageTask;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.TupleTag;

/**
 * Publishes the folder of all extracted units, one subfolder each, with {@code gate.json} beside
 * them. Files are linked where the file system can, since units are immutable. Units that are not
 * there make a dead letter, as in every other stage.
 */
final class JoinSignals extends DoFn<StageTask, StageResult> {
  private static final long serialVersionUID = 1L;

  /** Name of the statistics file in the joined folder. */
  static final String GATE = "gate.json";

  static final TupleTag<StageResult> RESULTS = new TupleTag<>("results") {};
  static final TupleTag<DeadLetter> DEAD_LETTERS = new TupleTag<>("deadLetters") {};

  private final PCollectionView<Map<String, byte[]>> earlier;

  JoinSignals(PCollectionView<Map<String, byte[]>> earlier) {
    this.earlier = earlier;
  }

  @ProcessElement
  public void process(ProcessContext context) throws IOException {
    StageTask task = context.element();
    Map<String, byte[]> results = context.sideInput(earlier);
    Map<String, ArtifactRef> units = new TreeMap<>();
    try {
      for (Map.Entry<String, String> input : task.getInputs().entrySet()) {
        String value = input.getValue();
        units.put(
            input.getKey(),
            value.startsWith("@") ? artifact(results, value.substring(1)) : literal(value));
      }
      context.output(join(task, units));
    } catch (GraceException e) {
      if (e.category() != Category.DATA) {
        throw e;
      }
      context.output(
          DEAD_LETTERS, DeadLetter.of(task.getStage(), task.getId(), task.getId(), e.getMessage()));
    }
  }

  static ArtifactRef artifact(Map<String, byte[]> results, String id) {
    byte[] manifest = results.get(id);
    if (manifest == null) {
      throw GraceException.data("signals: needs the result of %s, which has none", id);
    }
    try {
      return Manifest.parseFrom(manifest).getArtifact();
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug("signals: result of %s is no manifest", id).withCause(e);
    }
  }

  private static ArtifactRef literal(String json) throws InvalidProtocolBufferException {
    ArtifactRef.Builder artifact = ArtifactRef.newBuilder();
    JsonFormat.parser().merge(json, artifact);
    return artifact.build();
  }

  /** Looks up, else joins. */
  static StageResult join(StageTask task, Map<String, ArtifactRef> units) throws IOException {
    long start = System.nanoTime();
    ArtifactStore store = ArtifactStore.open(Path.of(task.getStore()));
    String key = key(task, units);
    Optional<Manifest> published = store.find(key);
    Manifest manifest = published.isPresent() ? published.get() : publish(store, key, task, units);
    return StageResult.of(
        task.getId(),
        task.getStage(),
        manifest.toByteArray(),
        published.isPresent(),
        0,
        (System.nanoTime() - start) / 1e9,
        System.currentTimeMillis());
  }

  static String key(StageTask task, Map<String, ArtifactRef> units) {
    return StageKeys.key(
        task.getStage(),
        task.getVersion(),
        TeacherCache.getDefaultInstance(),
        units,
        "",
        task.getSeed());
  }

  private static Manifest publish(
      ArtifactStore store, String key, StageTask task, Map<String, ArtifactRef> units)
      throws IOException {
    Path folder = store.begin(key);
    Map<String, ArtifactRef> parts = new TreeMap<>(units);
    ArtifactRef teacher = parts.remove("teacher");
    for (Map.Entry<String, ArtifactRef> unit : parts.entrySet()) {
      link(Path.of(unit.getValue().getUri()), folder.resolve(unit.getKey()));
    }
    ObjectNode gate = GateSummary.of(parts, GateSummary.vocabulary(Path.of(teacher.getUri())));
    Files.writeString(
        folder.resolve(GATE),
        new ObjectMapper().writerWithDefaultPrettyPrinter().writeValueAsString(gate) + "\n");
    Manifest.Builder partial =
        Manifest.newBuilder()
            .setStage(task.getStage())
            .setStageKey(key)
            .putAllInputs(units)
            .putTools("grace-beam", Builds.current())
            .setSeed(task.getSeed());
    partial.getArtifactBuilder().setKind("signals");
    return store.publish(folder, partial);
  }

  private static void link(Path from, Path to) throws IOException {
    try (Stream<Path> paths = Files.walk(from)) {
      for (Path path : paths.sorted().toList()) {
        Path target = to.resolve(from.relativize(path).toString());
        if (Files.isDirectory(path)) {
          Files.createDirectories(target);
          continue;
        }
        try {
          Files.createLink(target, path);
        } catch (UnsupportedOperationException | FileSystemException e) {
          Files.copy(path, target);
        }
      }
    }
  }
}
