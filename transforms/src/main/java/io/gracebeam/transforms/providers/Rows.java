package io.gracebeam.transforms.providers;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.stages.Artifact;
import io.gracebeam.transforms.stages.QuestionRow;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.View;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.Row;
import org.checkerframework.checker.nullness.qual.Nullable;

/** Reads typed elements from rows that a person wrote: fields that may be missing have defaults. */
final class Rows {
  private Rows() {}

  /** The rows of an input as artifacts: "uri" or "path"; optionally "kind" and "sha256". */
  static PCollection<Artifact> artifacts(PCollectionRowTuple rows, String input, String kind) {
    return rows.get(input).apply("To " + input, ParDo.of(new ToArtifactFn(kind)));
  }

  /** The only element of a collection. */
  static PTransform<PCollection<Artifact>, PCollectionView<Artifact>> only() {
    return View.asSingleton();
  }

  /** Rows as questions: "id", "prompt"; optionally "images" or "image", and "choices". */
  static PCollection<QuestionRow> questions(PCollectionRowTuple rows, String input) {
    return rows.get(input).apply("To questions", ParDo.of(new ToQuestionFn()));
  }

  private static @Nullable Object optional(Row row, String field) {
    return row.getSchema().hasField(field) ? row.getValue(field) : null;
  }

  private static String required(Row row, String field) {
    Object value = optional(row, field);
    if (value == null) {
      throw GraceException.user(
          "a row has no '%s'; its fields are %s", field, row.getSchema().getFieldNames());
    }
    return value.toString();
  }

  private static List<String> texts(Row row, String field) {
    Object value = optional(row, field);
    List<String> texts = new ArrayList<>();
    if (value instanceof Collection<?> several) {
      several.forEach(text -> texts.add(String.valueOf(text)));
    } else if (value != null) {
      texts.add(value.toString());
    }
    return texts;
  }

  private static final class ToArtifactFn extends DoFn<Row, Artifact> {
    private static final long serialVersionUID = 1L;
    private final String kind;

    ToArtifactFn(String kind) {
      this.kind = kind;
    }

    @ProcessElement
    public void process(@Element Row row, OutputReceiver<Artifact> out) {
      String uri = required(row, row.getSchema().hasField("path") ? "path" : "uri");
      Object given = optional(row, "kind");
      String actual = given == null ? kind : given.toString();
      Object sha256 = optional(row, "sha256");
      out.output(
          sha256 == null
              ? Artifact.at(actual, Path.of(uri))
              : Artifact.of(actual, sha256.toString(), uri));
    }
  }

  private static final class ToQuestionFn extends DoFn<Row, QuestionRow> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element Row row, OutputReceiver<QuestionRow> out) {
      out.output(
          QuestionRow.of(
              required(row, "id"),
              texts(row, row.getSchema().hasField("image") ? "image" : "images"),
              required(row, "prompt"),
              texts(row, "choices")));
    }
  }
}
