package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.DecoderSizes;
import org.junit.jupiter.api.Test;

class TrainBenchTest {
  private static TrainBench.Shape tiny() {
    LlavaConfig.Vision vision = new LlavaConfig.Vision(16, 8, 16, 2, 2, 32, 16, 1e-5);
    DecoderSizes text = new DecoderSizes(64, 32, 2, 2, 2, 16, 64, 64, 1e-5, 10000);
    LlavaConfig config =
        new LlavaConfig(vision, text, 3, vision.patches(), -2, true, 1, 2, 0, true, false);
    return new TrainBench.Shape("tiny", config, 16, 4, 2, 12, 6);
  }

  @Test
  void theTimedStepTrains() {
    try (TrainBench bench = new TrainBench(TinyWorld.ENGINE, tiny(), true, true)) {
      double first = bench.step();
      double last = first;
      for (int i = 0; i < 30; i++) {
        last = bench.step();
      }
      assertThat(last).isLessThan(first);
    }
  }

  @Test
  void quantizationIsPartOfIt() {
    try (TrainBench with = new TrainBench(TinyWorld.ENGINE, tiny(), true, false);
        TrainBench without = new TrainBench(TinyWorld.ENGINE, tiny(), false, false)) {
      assertThat(with.step()).isNotEqualTo(without.step());
    }
  }
}
