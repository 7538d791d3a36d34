package io.gracebeam.transforms.stages;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.auto.service.AutoService;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Joins the units of teacher signals: a folder with one subfolder for each unit and {@value
 * JoinSignals#GATE} beside them.
 */
@AutoService(LocalStage.class)
public final class JoinSignalsStage implements LocalStage {
  private static final String TEACHER = "teacher";

  /** For the service loader. */
  public JoinSignalsStage() {}

  @Override
  public String stage() {
    return "signals";
  }

  @Override
  public Map<String, Double> run(Job job) throws IOException {
    ObjectNode gate =
        GateSummary.of(
            parts(job.inputs()).values(), GateSummary.vocabulary(job.inputs().get(TEACHER)));
    Files.writeString(
        job.out().resolve(JoinSignals.GATE),
        new ObjectMapper().writerWithDefaultPrettyPrinter().writeValueAsString(gate) + "\n");
    return Map.of();
  }

  @Override
  public Map<String, ArtifactRef> parts(SortedMap<String, ArtifactRef> inputs) {
    SortedMap<String, ArtifactRef> units = new TreeMap<>(inputs);
    units.remove(TEACHER);
    return units;
  }
}
