package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.testing.Faults;
import io.gracebeam.transforms.testing.InProcessWorkers;
import io.grpc.Status;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a person reads when a stage fails. */
class FailedRunTest {
  @TempDir Path temp;

  @Test
  void theEarliestFailedStageIsTheErrorOfTheRun() throws Exception {
    Faults refusing = Faults.none().withFailures(10_000, Status.Code.INVALID_ARGUMENT);
    try (InProcessWorkers fakes = InProcessWorkers.start(refusing);
        RunFolder folder = RunFolder.open(temp);
        WorkerSet workers =
            WorkerSet.open(
                List.of(fakes.all().get(0).endpoint()), EngineSettings.getDefaultInstance())) {
      assertThatThrownBy(
              () ->
                  TinyRun.in(folder)
                      .execute(
                          workers,
                          RunBackend.named("direct"),
                          PipelineOptionsFactory.create(),
                          new Progress(
                              new PrintStream(PrintStream.nullOutputStream()), false, true)))
          .isInstanceOfSatisfying(
              GraceException.class,
              e -> assertThat(e.category()).as(e.getMessage()).isEqualTo(Category.DATA))
          .hasMessageStartingWith("prepare/teacher: injected fault (and ")
          .hasMessageEndingWith("all reasons are in " + temp.resolve("ledger.jsonl"));
    }
    assertThat(Files.readString(temp.resolve("ledger.jsonl")))
        .contains("prepare/student/s0", "signals: input 'teacher' needs the result of");
    assertThat(temp.resolve("report.json")).doesNotExist();
  }

  @Test
  void aRefusedQuestionOrAFinishedStageIsNoFailure() {
    try (RunFolder folder = RunFolder.open(temp)) {
      Run run = TinyRun.in(folder);
      List<DeadLetter> letters =
          List.of(
              DeadLetter.of("extract", "extract/u0000", "3.png", "no image"),
              DeadLetter.of("train", "prepare/teacher", "prepare/teacher", "was retried"));
      Optional<String> failure = Run.failure(run.plan(), letters, Set.of("prepare/teacher"));
      assertThat(failure).isEmpty();
    }
  }

  @Test
  void oneFailedStageIsNamedOnce() {
    try (RunFolder folder = RunFolder.open(temp)) {
      Run run = TinyRun.in(folder);
      List<DeadLetter> letters =
          List.of(
              DeadLetter.of(
                  "extract", "extract/u0000", "extract/u0000", "extract/u0000: bad photo"));
      assertThat(Run.failure(run.plan(), letters, Set.of())).contains("extract/u0000: bad photo");
    }
  }
}
