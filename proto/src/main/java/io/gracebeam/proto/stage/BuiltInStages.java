package io.gracebeam.proto.stage;

import static io.gracebeam.proto.stage.Executor.LOCAL;
import static io.gracebeam.proto.stage.Executor.WORKER;
import static io.gracebeam.proto.stage.InputRole.numbered;
import static io.gracebeam.proto.stage.InputRole.oneOf;
import static io.gracebeam.proto.stage.InputRole.optional;
import static io.gracebeam.proto.stage.InputRole.required;

import com.google.protobuf.Empty;
import com.google.protobuf.Message;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.ScoreWork;
import io.gracebeam.proto.v1.TrainWork;
import java.util.List;

/** The rows that come with the project, in the order of a run. */
public final class BuiltInStages implements StageRows {
  private static final List<StageKind> ROWS =
      List.of(
          // A starting model: tower pre-training, then instruction training.
          row("prepare", 1, PrepareWork.getDefaultInstance(), "model", required("dataset")),
          // Teacher signals of one unit of examples.
          row(
              "extract",
              1,
              ExtractRequest.getDefaultInstance(),
              "teacher-signals",
              required("teacher"),
              required("dataset")),
          // All units of teacher signals in one folder, with gate statistics.
          local(
              "signals",
              1,
              Empty.getDefaultInstance(),
              "signals",
              required("teacher"),
              numbered("unit-")),
          // One logical shard for one round.
          row(
              "train",
              1,
              TrainWork.getDefaultInstance(),
              "trained",
              required("student"),
              required("dataset"),
              optional("signals"),
              optional("state")),
          // The outer step over the shards of one round.
          row(
              "average",
              1,
              AverageWork.getDefaultInstance(),
              "trained",
              required("previous"),
              numbered("shard-")),
          // The checkpoint that users deploy.
          row("export", 1, ExportWork.getDefaultInstance(), "model", oneOf("trained", "model")),
          // Greedy answers to one unit of questions.
          row(
              "answer",
              1,
              GenerateRequest.getDefaultInstance(),
              "answers",
              required("model"),
              optional("images")),
          // Credit and figures of one model's answers to one benchmark.
          local(
              "score",
              1,
              ScoreWork.getDefaultInstance(),
              "scores",
              required("questions"),
              numbered("answers-")),
          // Token similarities of one model on one example, for the report's maps.
          row(
              "gram",
              1,
              ExtractRequest.getDefaultInstance(),
              "teacher-signals",
              required("teacher"),
              required("dataset")));

  /** For the service loader. */
  public BuiltInStages() {}

  @Override
  public List<StageKind> rows() {
    return ROWS;
  }

  private static StageKind row(
      String name, int version, Message work, String output, InputRole... inputs) {
    return new StageKind(name, version, work, List.of(inputs), output, WORKER);
  }

  private static StageKind local(
      String name, int version, Message work, String output, InputRole... inputs) {
    return new StageKind(name, version, work, List.of(inputs), output, LOCAL);
  }
}
