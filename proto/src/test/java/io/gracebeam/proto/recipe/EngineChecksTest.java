package io.gracebeam.proto.recipe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import org.junit.jupiter.api.Test;

class EngineChecksTest {
  private static EngineSettings.Builder some() {
    return EngineSettings.newBuilder();
  }

  private static void refused(EngineSettings.Builder settings, String start, String allowed) {
    GraceException error =
        catchThrowableOfType(
            GraceException.class, () -> EngineChecks.requireOptions(settings.build()));
    assertThat(error.category()).isEqualTo(Category.USER);
    assertThat(error).hasMessageStartingWith(start).hasMessageEndingWith("allowed: " + allowed);
  }

  @Test
  void whatEnginesTakeIsAllowed() {
    EngineSettings most =
        some()
            .setName("LibTorch")
            .setThreads(1024)
            .setDevice("cuda:99")
            .setCompute("bfloat16")
            .build();
    assertThat(EngineChecks.requireOptions(most)).isEqualTo(most);
    EngineSettings least = some().setThreads(0).setDevice("cpu").setCompute("auto").build();
    assertThat(EngineChecks.requireOptions(least)).isEqualTo(least);
    assertThat(EngineChecks.requireOptions(some().build())).isEqualTo(some().build());
  }

  @Test
  void theRestIsRefusedByTheNameOfItsOption() {
    refused(some().setThreads(-1), "--threads: '-1' is not allowed", "0 to 1024");
    refused(some().setThreads(1025), "--threads: '1025'", "0 to 1024");
    refused(some().setDevice("cuda:100"), "--device: 'cuda:100'", "text like cpu|cuda:[0-9]{1,2}");
    refused(some().setDevice("gpu"), "--device: 'gpu'", "text like cpu|cuda:[0-9]{1,2}");
    refused(some().setCompute("int8"), "--compute: 'int8'", "text like auto|float32|bfloat16");
    refused(some().setName("2"), "--engine: '2'", "text like [A-Za-z][A-Za-z0-9_-]{0,39}");
  }
}
