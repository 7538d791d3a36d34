package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalForm;
import java.util.ArrayList;
import java.util.List;

/** A student with quantized decoder, random weights, five examples, and the project's step. */
final class TinyStudent implements AutoCloseable {
  static final int BITS = 4;
  static final int GROUP = 16;
  static final QuantSpec SPEC = new QuantSpec(BITS, GROUP, false);
  private static final float TEMPERATURE = 2;

  static final Grace GRACE =
      Grace.newBuilder().setTemperature(TEMPERATURE).setAlpha(1).setBetaDkd(4).build();

  private static final int VOCAB = 61;
  private static final int WIDTH = 16;
  private static final TrainBench.Shape SHAPE = shape();

  final VisionLanguageModel model;
  final Parameters parameters;
  final Stepper stepper;
  final List<Example> batch = new ArrayList<>();

  /** Weights of that seed. */
  TinyStudent(long seed) {
    model = model(seed);
    parameters = new Parameters(StudentTrainer.trainable(model, true), model.masters());
    parameters.quantize(model.quantizableWeights(), BITS, GROUP, false);
    Losses losses =
        new Losses(
            Variant.newBuilder().setDistillation("dkd").setGate(true).setRcka(true).build(),
            GRACE,
            new SignalForm(SignalForm.Rows.FULL_F32, VOCAB, 0, TEMPERATURE, SignalForm.Gram.F32));
    stepper = new Stepper(TinyWorld.ENGINE, model, null, losses, null, parameters);
    for (int i = 0; i < SHAPE.examples(); i++) {
      batch.add(TrainBench.example(SHAPE, i, true));
    }
  }

  private static TrainBench.Shape shape() {
    LlavaConfig.Vision vision = new LlavaConfig.Vision(16, 8, 16, 2, 2, 32, 16, 1e-5);
    DecoderSizes text =
        new DecoderSizes(VOCAB, WIDTH, 2, 2, 2, WIDTH / 2, 2 * WIDTH, 64, 1e-5, 10000);
    LlavaConfig config =
        new LlavaConfig(vision, text, 3, vision.patches(), -2, true, 1, 2, 0, true, false);
    return new TrainBench.Shape("tiny", config, 16, 5, 2, 12, 7);
  }

  /** A copy of the model, without quantization. */
  static VisionLanguageModel model(long seed) {
    return VisionLanguageModel.createForTraining(
        TinyWorld.ENGINE, SHAPE.config(), Prepare.initial(SHAPE.config(), seed));
  }

  /** Micro-batches of two of the five examples. */
  static Training.Builder training(int steps) {
    return TinyWorld.training(steps)
        .setBatchExamples(SHAPE.examples())
        .setMicroBatchExamples(SHAPE.micro());
  }

  @Override
  public void close() {
    model.close();
  }
}
