package io.gracebeam.proto.stage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.StringValue;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.proto.v1.TrainWork;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class StageTableTest {
  private final StageTable table = StageTable.load();

  @Test
  void rowsAreFoundByName() {
    assertThat(table.names())
        .contains("prepare", "extract", "signals", "train", "average", "export", "answer", "gram");
    StageKind train = table.get("train");
    assertThat(train.does(TrainWork.newBuilder().setRound(3).build())).isTrue();
    assertThat(train.does(AverageWork.getDefaultInstance())).isFalse();
    assertThat(train.output()).isEqualTo("trained");
    assertThat(train.executor()).isEqualTo(Executor.WORKER);
    assertThat(table.get("signals").executor()).isEqualTo(Executor.LOCAL);
    assertThat(table.all()).extracting(StageKind::name).isEqualTo(List.copyOf(table.names()));
  }

  @Test
  void anUnknownNameListsWhatThereIs() {
    assertThatThrownBy(() -> table.get("bake"))
        .hasMessageStartingWith("stage: 'bake' is unknown; allowed: answer, average, export")
        .extracting(e -> ((GraceException) e).category())
        .isEqualTo(Category.USER);
  }

  @Test
  void inputsAreChecked() {
    StageKind average = table.get("average");
    assertThatCode(() -> average.checkInputs("t", Set.of("previous", "shard-0", "shard-11")))
        .doesNotThrowAnyException();
    assertThatThrownBy(() -> average.checkInputs("t", Set.of("previous")))
        .hasMessage("t: stage average: input 'shard-0' is missing; given: [previous]");
    assertThatThrownBy(
            () -> average.checkInputs("t", Set.of("previous", "shard-0", "shard-", "shared-1")))
        .hasMessage("t: stage average has no input 'shard-'; allowed: 'previous', 'shard-0'");
    StageKind export = table.get("export");
    assertThatCode(() -> export.checkInputs("t", Set.of("model"))).doesNotThrowAnyException();
    assertThatThrownBy(() -> export.checkInputs("t", Set.of()))
        .hasMessage("t: stage export: input 'trained' or 'model' is missing; given: []");
  }

  @Test
  void workIsOfTheRowsType() {
    StageKind train = table.get("train");
    TrainWork work = TrainWork.newBuilder().setRound(2).build();
    assertThat(train.parse("t", work.toByteString())).isEqualTo(work);
    assertThat(train.unpack("t", Any.pack(work))).isEqualTo(work);
    assertThatThrownBy(() -> train.unpack("t", Any.pack(StringValue.of("x"))))
        .hasMessageEndingWith("allowed: gracebeam.v1.TrainWork")
        .hasMessageContaining("google.protobuf.StringValue");
    assertThatThrownBy(() -> train.parse("t", ByteString.copyFromUtf8("\377")))
        .extracting(e -> ((GraceException) e).category())
        .isEqualTo(Category.BUG);
    assertThatThrownBy(() -> train.check("t", StringValue.of("x")))
        .hasMessageContaining("it is a google.protobuf.StringValue");
  }

  @Test
  void namesAndVersionsAreChecked() {
    assertThatThrownBy(() -> row("Train", 1)).hasMessageContaining("name 'Train'");
    assertThatThrownBy(() -> row("train", 0)).hasMessageContaining("version 0");
    assertThat(row("x-1", 1).withVersion(3).version()).isEqualTo(3);
  }

  private static StageKind row(String name, int version) {
    return new StageKind(
        name, version, StringValue.getDefaultInstance(), List.of(), "text", Executor.LOCAL);
  }
}
