package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.proto.v1.Manifest;
import java.util.List;
import org.junit.jupiter.api.Test;

class ReportTimingsTest {
  @Test
  void overlapsCountOnceAndGapsNotAtAll() {
    // 0 to 10, 4 to 6 inside it, 9 to 12 beyond its end, a gap, 20 to 21; a cached one adds
    // nothing.
    assertThat(
            ReportBuilder.busySeconds(
                List.of(stage(21, 1), stage(10, 10), stage(6, 2), stage(12, 3), stage(30, 0))))
        .isCloseTo(13, within(1e-6));
  }

  private static ReportInput.Stage stage(double endSeconds, double workerSeconds) {
    return new ReportInput.Stage(
        "s",
        "train",
        Manifest.getDefaultInstance(),
        workerSeconds == 0,
        workerSeconds,
        workerSeconds,
        Math.round(1e12 + 1e3 * endSeconds));
  }
}
