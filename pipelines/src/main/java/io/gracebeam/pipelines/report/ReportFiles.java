package io.gracebeam.pipelines.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.function.BiConsumer;

/** Reads and writes the report's two files. */
public final class ReportFiles {
  /** The facts. */
  public static final String JSON = "report.json";

  /** The page. */
  public static final String HTML = "report.html";

  private static final ObjectMapper MAPPER =
      new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);

  private ReportFiles() {}

  /**
   * Writes both.
   *
   * @param folder writes a file of the run folder, given its name and content
   */
  public static void write(BiConsumer<String, String> folder, JsonNode report) {
    folder.accept(JSON, text(report));
    folder.accept(HTML, ReportPage.render(report));
  }

  /** Indented JSON with a final line break. */
  public static String text(JsonNode node) {
    try {
      return MAPPER.writeValueAsString(node) + "\n";
    } catch (JsonProcessingException e) {
      throw GraceException.bug("report cannot be written as JSON: %s", e.getOriginalMessage())
          .withCause(e);
    }
  }

  /**
   * The report of a run folder.
   *
   * @throws GraceException (user) if there is none
   */
  public static JsonNode read(Path run) {
    Path file = run.resolve(JSON);
    try {
      return MAPPER.readTree(file.toFile());
    } catch (IOException e) {
      throw GraceException.user("%s: no readable report; name the folder of a finished run", file)
          .withCause(e);
    }
  }
}
