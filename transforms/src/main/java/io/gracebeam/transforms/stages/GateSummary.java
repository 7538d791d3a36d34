package io.gracebeam.transforms.stages;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.transforms.statistics.GateSample;
import io.gracebeam.transforms.statistics.GateStatistics;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collection;

/**
 * Teacher entropy against teacher error, over all units: the figures that tell whether the gate can
 * work.
 */
final class GateSummary {
  private GateSummary() {}

  static ObjectNode of(Collection<ArtifactRef> units, int vocabulary) {
    GateStatistics statistics = new GateStatistics();
    long examples = 0;
    for (ArtifactRef unit : units) {
      for (ExampleSignal example : Signals.read(unit)) {
        if (!example.getError().isEmpty()) {
          continue;
        }
        examples++;
        for (TokenSignal token : example.getTokensList()) {
          statistics.add(
              new GateSample(
                  token.getType().isEmpty() ? "untyped" : token.getType(),
                  token.getEntropy(),
                  vocabulary,
                  token.getTopProbability(),
                  token.getCorrect() ? 0 : 1));
        }
      }
    }
    return json(statistics, examples, Math.log(vocabulary));
  }

  private static ObjectNode json(GateStatistics statistics, long examples, double scale) {
    ObjectNode node = new ObjectMapper().createObjectNode();
    GateStatistics.Figures all = statistics.figures().get(GateStatistics.ALL);
    node.put("examples", examples);
    node.put("tokens", all.count());
    put(node, "pearsonR", all.pearson());
    put(node, "binnedR2", all.binnedR2());
    put(node, "calibrationError", all.calibrationError());
    ArrayNode bins = node.putArray("bins");
    for (GateStatistics.Bin bin : all.entropyBins()) {
      if (bin.count() > 0) {
        ObjectNode row = bins.addObject();
        row.put("count", bin.count());
        put(row, "entropy", bin.meanX() * scale);
        put(row, "error", bin.meanError());
      }
    }
    ArrayNode types = node.putArray("types");
    statistics
        .figures()
        .forEach(
            (type, figures) -> {
              ObjectNode row = types.addObject();
              row.put("type", type);
              row.put("tokens", figures.count());
              put(row, "meanEntropy", figures.meanEntropy() * scale);
              put(row, "error", figures.meanError());
              put(row, "pearsonR", figures.pearson());
              put(row, "binnedR2", figures.binnedR2());
              put(row, "calibrationError", figures.calibrationError());
            });
    return node;
  }

  /** Size of the logit axis, from a Hugging Face folder's configuration. */
  static int vocabulary(ArtifactRef model) throws IOException {
    Path file = Artifacts.fetch(model, "config.json");
    JsonNode config = new ObjectMapper().readTree(file.toFile());
    int size =
        config.path("text_config").path("vocab_size").asInt(config.path("vocab_size").asInt());
    if (size < 2) {
      throw GraceException.data("%s: says nothing of text_config.vocab_size", file);
    }
    return size;
  }

  /** JSON has no NaN: an undefined figure is left out. */
  private static void put(ObjectNode node, String key, double value) {
    if (Double.isFinite(value)) {
      node.put(key, value);
    }
  }
}
