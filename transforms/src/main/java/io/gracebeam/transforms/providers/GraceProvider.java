package io.gracebeam.transforms.providers;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.Artifact;
import io.gracebeam.transforms.stages.DeadLetter;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Function;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.transforms.SchemaTransform;
import org.apache.beam.sdk.schemas.transforms.TypedSchemaTransformProvider;
import org.apache.beam.sdk.schemas.transforms.providers.ErrorHandling;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.Row;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * What all providers share: names, and errors as Beam's own transforms handle them. With {@code
 * error_handling: {output: NAME}} what could not be used goes to the output NAME, as rows of {@code
 * failed_row} (stage, task, id of the record) and {@code error_message}; without it, the first such
 * record fails the pipeline.
 */
abstract class GraceProvider<C> extends TypedSchemaTransformProvider<C> {
  static final String INPUT = "input";
  static final String OUTPUT = "output";
  static final String ERRORS = "errors";

  private static final Schema FAILED =
      Schema.builder().addStringField("stage").addStringField("task").addStringField("id").build();
  private static final Schema ERROR = ErrorHandling.errorSchema(FAILED);

  private final String name;
  private final String description;
  private final List<String> inputs;

  GraceProvider(String name, String description, String... inputs) {
    this.name = name;
    this.description = description;
    this.inputs = List.of(inputs);
  }

  @Override
  public String identifier() {
    return "beam:schematransform:io.gracebeam:" + name + ":v1";
  }

  @Override
  public String description() {
    return description;
  }

  @Override
  public List<String> inputCollectionNames() {
    return inputs;
  }

  @Override
  public List<String> outputCollectionNames() {
    return List.of(OUTPUT, ERRORS);
  }

  static Workers workers(List<String> endpoints, @Nullable Integer maxInFlight) {
    Workers workers = Workers.of(endpoints);
    return maxInFlight == null ? workers : workers.withMaxInFlight(maxInFlight);
  }

  /** A file or folder that the configuration names. */
  static Artifact artifact(String kind, String path) {
    return Artifact.at(kind, Path.of(path));
  }

  /** A transform of rows that a function expands. */
  static SchemaTransform transform(Function<PCollectionRowTuple, PCollectionRowTuple> expand) {
    return new OnRows(expand);
  }

  /**
   * Sets an artifact that is either in the configuration or the only row of an input.
   *
   * @param role name of the input, and kind of the artifact
   * @param path from the configuration
   */
  static <T> T choose(
      PCollectionRowTuple rows,
      String role,
      @Nullable String path,
      Function<Artifact, T> withArtifact,
      Function<PCollectionView<Artifact>, T> withView) {
    if (rows.has(role) == (path != null)) {
      throw GraceException.user(
          "%s: %s; allowed: either the configuration's '%s' or an input of this name",
          role, path == null ? "is missing" : "is given twice", role);
    }
    return path != null
        ? withArtifact.apply(artifact(role, path))
        : withView.apply(Rows.artifacts(rows, role, role).apply("One " + role, Rows.only()));
  }

  /** Output rows, with errors handled as the configuration says. */
  static PCollectionRowTuple outputs(
      PCollection<Row> output, PCollection<DeadLetter> errors, @Nullable ErrorHandling handling) {
    PCollectionRowTuple all = PCollectionRowTuple.of(OUTPUT, output);
    if (!ErrorHandling.hasOutput(handling)) {
      errors.apply("FailOnError", ParDo.of(new FailFn()));
      return all;
    }
    return all.and(
        handling.getOutput(),
        errors.apply("ToErrorRows", ParDo.of(new ToErrorRowFn())).setRowSchema(ERROR));
  }

  private static final class FailFn extends DoFn<DeadLetter, Void> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element DeadLetter letter) {
      throw GraceException.data(
          "%s: %s: %s; with error_handling the pipeline goes on without it",
          letter.getTaskId(), letter.getId(), letter.getReason());
    }
  }

  private static final class ToErrorRowFn extends DoFn<DeadLetter, Row> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element DeadLetter letter, OutputReceiver<Row> out) {
      out.output(
          Row.withSchema(ERROR)
              .addValues(
                  Row.withSchema(FAILED)
                      .addValues(letter.getStage(), letter.getTaskId(), letter.getId())
                      .build(),
                  letter.getReason())
              .build());
    }
  }

  private static final class OnRows extends SchemaTransform {
    private final transient Function<PCollectionRowTuple, PCollectionRowTuple> expand;

    OnRows(Function<PCollectionRowTuple, PCollectionRowTuple> expand) {
      this.expand = expand;
    }

    @Override
    public PCollectionRowTuple expand(PCollectionRowTuple rows) {
      return expand.apply(rows);
    }
  }
}
