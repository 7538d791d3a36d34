package io.gracebeam.transforms.stages;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.TokenSignal;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Token statistics of an extraction unit: {@code tokens.pb} or {@code examples.pb},
 * length-delimited {@link ExampleSignal} messages.
 */
final class Signals {
  /** Name of the file in the artifact's folder. */
  static final String FILE = "tokens.pb";

  /** The content of {@link #FILE} under the name that the worker's replay reads. */
  private static final String EXAMPLES = "examples.pb";

  private Signals() {}

  /**
   * Reads a unit's examples, refused ones included, in the unit's order.
   *
   * @throws GraceException (environment) if the file cannot be read or is damaged
   */
  static List<ExampleSignal> read(ArtifactRef artifact) {
    Path file = Artifacts.fetch(artifact, Artifacts.holds(artifact, EXAMPLES) ? EXAMPLES : FILE);
    List<ExampleSignal> examples = new ArrayList<>();
    try (InputStream in = new BufferedInputStream(Files.newInputStream(file))) {
      for (ExampleSignal next = ExampleSignal.parseDelimitedFrom(in);
          next != null;
          next = ExampleSignal.parseDelimitedFrom(in)) {
        examples.add(next);
      }
    } catch (IOException e) {
      throw GraceException.environment(
              "signals %s: example %d cannot be read: %s", file, examples.size(), e.getMessage())
          .withCause(e);
    }
    return examples;
  }

  /** A unit's tokens, in order; of refused examples none. */
  static List<TokenRow> rows(String taskId, ArtifactRef artifact) {
    List<TokenRow> rows = new ArrayList<>();
    for (ExampleSignal example : read(artifact)) {
      if (!example.getError().isEmpty()) {
        continue;
      }
      int position = 0;
      for (TokenSignal token : example.getTokensList()) {
        rows.add(TokenRow.of(taskId, example.getId(), position++, token));
      }
    }
    return rows;
  }
}
