package io.gracebeam.templates.toys;

import com.google.protobuf.StringValue;
import io.gracebeam.proto.stage.Executor;
import io.gracebeam.proto.stage.InputRole;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageRows;
import java.util.List;

/** A kind of stage that only tests have: a worker adds a word to a text. */
public final class ToyRows implements StageRows {
  static final StageKind APPEND =
      new StageKind(
          "toy-append",
          1,
          StringValue.getDefaultInstance(),
          List.of(InputRole.required("text")),
          "text",
          Executor.WORKER);

  /** For the service loader. */
  public ToyRows() {}

  @Override
  public List<StageKind> rows() {
    return List.of(APPEND);
  }
}
