package io.gracebeam.transforms.stages;

import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateResponse;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;

/**
 * The answers artifact: {@code answers.jsonl}, one {@link GenerateResponse} in JSON per line,
 * sorted by question id.
 */
public final class Answers {
  /** Name of the file in the artifact's folder. */
  public static final String FILE = "answers.jsonl";

  private Answers() {}

  /** Writes answers, sorted by id, with the field names of the message. */
  static void write(Path file, Collection<GenerateResponse> answers) throws IOException {
    JsonFormat.Printer printer =
        JsonFormat.printer().preservingProtoFieldNames().omittingInsignificantWhitespace();
    try (Writer out = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
      for (GenerateResponse answer :
          answers.stream().sorted(Comparator.comparing(GenerateResponse::getId)).toList()) {
        out.write(printer.print(answer));
        out.write('\n');
      }
    }
  }

  /**
   * Reads the answers of an artifact.
   *
   * @throws GraceException (environment) if the file cannot be read or is damaged
   */
  public static List<GenerateResponse> read(ArtifactRef artifact) {
    Path file = Artifacts.fetch(artifact, FILE);
    List<GenerateResponse> answers = new ArrayList<>();
    try {
      for (String line : Files.readAllLines(file, StandardCharsets.UTF_8)) {
        GenerateResponse.Builder answer = GenerateResponse.newBuilder();
        JsonFormat.parser().merge(line, answer);
        answers.add(answer.build());
      }
    } catch (IOException e) {
      throw GraceException.environment(
              "answers %s: line %d cannot be read: %s", file, answers.size() + 1, e.getMessage())
          .withCause(e);
    }
    return answers;
  }
}
