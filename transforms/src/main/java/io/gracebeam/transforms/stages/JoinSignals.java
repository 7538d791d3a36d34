package io.gracebeam.transforms.stages;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.auto.service.AutoService;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * Joins the units of teacher signals: a folder with one subfolder for each unit and {@value #GATE}
 * beside them. Files are linked where the file system can, since units are immutable.
 */
@AutoService(LocalStage.class)
public final class JoinSignals implements LocalStage {
  /** Name of the file with the gate statistics. */
  public static final String GATE = "gate.json";

  /** For the service loader. */
  public JoinSignals() {}

  @Override
  public String stage() {
    return "signals";
  }

  @Override
  public Map<String, Double> run(Job job) throws IOException {
    SortedMap<String, Path> units = new TreeMap<>(job.inputs());
    Path teacher = units.remove("teacher");
    for (Map.Entry<String, Path> unit : units.entrySet()) {
      link(unit.getValue(), job.out().resolve(unit.getKey()));
    }
    ObjectNode gate = GateSummary.of(units.values(), GateSummary.vocabulary(teacher));
    Files.writeString(
        job.out().resolve(GATE),
        new ObjectMapper().writerWithDefaultPrettyPrinter().writeValueAsString(gate) + "\n");
    return Map.of();
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
