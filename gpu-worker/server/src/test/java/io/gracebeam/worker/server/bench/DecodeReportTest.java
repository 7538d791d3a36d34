package io.gracebeam.worker.server.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DecodeReportTest {
  private static final DecodeRunner.Figures OURS =
      new DecodeRunner.Figures(1_000_000_000, 500_000_000, 2, 1, 2_000_000_000, 3_000_000_000L);
  private static final DecodeRunner.Figures DENSE =
      new DecodeRunner.Figures(4_000_000_000L, 500_000_000, 1, 4, 4_000_000_000L, 4_000_000_000L);
  private static final DecodeRunner.Figures PEER =
      new DecodeRunner.Figures(1_000_000_000, 0, 4, 2, 1_000_000_000, 6_000_000_000L);

  private static final DecodeRunner.Whole WHOLE =
      new DecodeRunner.Whole(1_000_000_000, 500_000_000, 2_000_000_000);

  @TempDir Path folder;

  private JsonNode rows(Map<String, DecodeRunner.Figures> rivals) throws IOException {
    BenchTable table = new BenchTable("decode", Map.of("shape", "student"));
    DecodeReport report = new DecodeReport(table, 64, 32, 40e9);
    report.add("int4", OURS, rivals);
    report.resident("int4", OURS, rivals);
    report.whole(
        "int4", OURS, WHOLE, "16-bit", Optional.of(new DecodeReport.Holding(DENSE, WHOLE)));
    table.note("a note");
    Path file = folder.resolve("decode.json");
    table.report(file.toString());
    JsonNode root = new ObjectMapper().readTree(file.toFile());
    assertThat(root.get("shape").asText()).isEqualTo("student");
    assertThat(root.get("notes").get(0).asText()).isEqualTo("a note");
    return root.get("rows");
  }

  private static JsonNode row(JsonNode rows, String name) {
    for (JsonNode row : rows) {
      if (row.get("name").asText().equals(name)) {
        return row;
      }
    }
    throw new AssertionError(name + " is not among " + rows);
  }

  @Test
  void dividesEachFigureByThoseOfTheRivals() throws IOException {
    Map<String, DecodeRunner.Figures> rivals = new LinkedHashMap<>();
    rivals.put("16-bit", DENSE);
    rivals.put("llama.cpp-q4_0", PEER);
    JsonNode rows = rows(rivals);
    JsonNode decode = row(rows, "int4 decode");
    assertThat(decode.get("value").asDouble()).isEqualTo(32);
    assertThat(decode.get("ratios").get("16-bit").asDouble()).isEqualTo(4);
    assertThat(decode.get("ratios").get("llama.cpp-q4_0").asDouble()).isEqualTo(2);
    JsonNode prefill = row(rows, "int4 prefill").get("ratios");
    assertThat(prefill.get("16-bit").asDouble()).isEqualTo(0.5);
    assertThat(prefill.get("llama.cpp-q4_0").asDouble()).isEqualTo(2);
    JsonNode read = row(rows, "int4 decode, weights read");
    assertThat(read.get("value").asDouble()).isEqualTo(32);
    assertThat(read.get("ratios").get("memory read").asDouble()).isCloseTo(0.8, within(1e-12));
    assertThat(row(rows, "int4 resident").get("ratios").get("16-bit").asDouble()).isEqualTo(0.5);
    assertThat(row(rows, "int4 resident, peak").get("ratios").get("llama.cpp-q4_0").asDouble())
        .isEqualTo(0.5);
  }

  @Test
  void aRivalThatDoesNotSayItsScratchGivesNoRatioOfIt() throws IOException {
    Map<String, DecodeRunner.Figures> rivals = new LinkedHashMap<>();
    rivals.put("16-bit", DENSE);
    rivals.put("llama.cpp-q4_0", PEER);
    JsonNode planned = row(rows(rivals), "int4 decoder's weights, cache and scratch");
    assertThat(planned.get("value").asDouble()).isEqualTo(1.5);
    assertThat(planned.get("ratios").size()).isEqualTo(1);
    assertThat(planned.get("ratios").get("16-bit").asDouble()).isCloseTo(1 / 3.0, within(1e-12));
  }

  @Test
  void theWholeModelIsComparedWithItsPlanAndTheBase() throws IOException {
    JsonNode rows = rows(Map.of());
    JsonNode weights = row(rows, "int4 model, weights in memory");
    assertThat(weights.get("value").asDouble()).isEqualTo(2);
    assertThat(weights.get("ratios").get("16-bit").asDouble()).isCloseTo(0.4, within(1e-12));
    JsonNode peak = row(rows, "int4 model, resident, peak");
    assertThat(peak.get("value").asDouble()).isEqualTo(3);
    assertThat(peak.get("ratios").get("16-bit").asDouble()).isCloseTo(0.75, within(1e-12));
    JsonNode taken = row(rows, "int4 model, resident, peak, without the JVM").get("ratios");
    assertThat(taken.get("grace plan").asDouble()).isCloseTo(1.25, within(1e-12));
    assertThat(taken.get("16-bit").asDouble()).isCloseTo(2.5 / 3.5, within(1e-12));
  }

  @Test
  void withoutRivalsThereAreNoRatios() throws IOException {
    assertThat(row(rows(Map.of()), "int4 decode").has("ratios")).isFalse();
  }
}
