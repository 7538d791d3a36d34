package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.protobuf.ByteString;
import io.gracebeam.pipelines.plan.PlannedStage;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.stages.StageLookup;
import io.gracebeam.transforms.stages.StageTask;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StageVersionsTest {
  @TempDir Path temp;

  /** Results keep their bytes, so the keys of later stages follow from the digests as before. */
  @Test
  void raisingOneVersionChangesTheKeysOfThatKindAndOfNoOther() {
    try (RunFolder folder = RunFolder.open(temp.resolve("run"))) {
      RunPlan plan = TinyRun.in(folder).plan();
      Map<String, String> before = keys(plan, "");
      Set<String> kinds = new TreeSet<>();
      plan.stages().forEach(stage -> kinds.add(stage.kind().name()));
      assertThat(kinds).contains("prepare", "extract", "signals", "train", "export", "answer");
      for (String raised : kinds) {
        Map<String, String> after = keys(plan, raised);
        for (PlannedStage stage : plan.stages()) {
          boolean same = after.get(stage.id()).equals(before.get(stage.id()));
          assertThat(same)
              .as("%s after raising %s", stage.id(), raised)
              .isEqualTo(!stage.kind().name().equals(raised));
        }
      }
    }
  }

  /** Key of every stage, where each stage's result has a digest made of its id. */
  private Map<String, String> keys(RunPlan plan, String raised) {
    Map<String, ArtifactRef> given = new HashMap<>();
    Map<String, byte[]> earlier = new HashMap<>();
    for (PlannedStage stage : plan.stages()) {
      earlier.put(stage.id(), manifest(stage.id()).toByteArray());
      stage.inputs().values().stream()
          .filter(input -> input.startsWith("@"))
          .forEach(input -> given.put(input, manifest(input).getArtifact()));
    }
    Map<String, String> keys = new TreeMap<>();
    for (PlannedStage stage : plan.stages()) {
      StageTask task = Tasks.of(with(stage, raised), given, temp.resolve("store").toUri());
      keys.put(stage.id(), StageLookup.key(task, earlier, "engine"));
    }
    return keys;
  }

  private static PlannedStage with(PlannedStage stage, String raised) {
    StageKind kind = stage.kind();
    return new PlannedStage(
        stage.id(),
        kind.name().equals(raised) ? kind.withVersion(kind.version() + 1) : kind,
        stage.inputs(),
        stage.work(),
        stage.seed(),
        stage.variant(),
        stage.wave());
  }

  private static Manifest manifest(String id) {
    String digest = Digests.sha256(ByteString.copyFromUtf8(id).toByteArray());
    return Manifest.newBuilder()
        .setArtifact(ArtifactRef.newBuilder().setSha256(digest).setUri("/somewhere/" + digest))
        .build();
  }
}
