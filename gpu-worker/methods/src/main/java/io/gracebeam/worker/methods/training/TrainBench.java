package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.Rcka;
import io.gracebeam.worker.kernels.TeacherStatistics;
import io.gracebeam.worker.methods.data.Hash;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.family.Families;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.model.PixelCache;
import io.gracebeam.worker.methods.model.SpecialTokens;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * Full training steps on random weights, images, tokens and teacher signals of a given shape, for
 * timing: quantize and write the weights, forward, losses, backward, straight-through AdamW.
 */
public final class TrainBench implements AutoCloseable {
  private static final int BOS = 1;
  private static final int IMAGE = 3;
  private static final float TEMPERATURE = 2;
  private static final int GROUP = 32;

  /**
   * What is trained.
   *
   * @param imageSize side of an image in pixels
   * @param examples per step
   * @param micro examples per micro-batch
   * @param textTokens tokens behind the image's
   * @param supervised of those, at the end
   */
  public record Shape(
      String name,
      ModelConfig config,
      int imageSize,
      int examples,
      int micro,
      int textTokens,
      int supervised) {
    /** These examples in this number of micro-batches, which divides them. */
    public Shape inMicroBatches(int count) {
      if (count < 1 || examples % count != 0) {
        throw GraceException.bug("%d examples in %d micro-batches", examples, count);
      }
      return new Shape(name, config, imageSize, examples, examples / count, textTokens, supervised);
    }
  }

  private final VisionLanguageModel model;
  private final Parameters parameters;
  private final Stepper stepper;
  private final List<Example> batch = new ArrayList<>();
  private final Training training;
  private int steps;

  /**
   * Makes weights and data.
   *
   * @param quantized whether the decoder's weights are quantized (INT4, groups of 32)
   * @param distilled full GRACE loss, or cross-entropy alone
   */
  public TrainBench(EngineHandle engine, Shape shape, boolean quantized, boolean distilled) {
    this(engine, shape, quantized, distilled, false);
  }

  /** Makes weights and data, for training with {@code checkpoint_blocks} or without. */
  public TrainBench(
      EngineHandle engine, Shape shape, boolean quantized, boolean distilled, boolean checkpoints) {
    this.training =
        Training.newBuilder()
            .setSteps(1 << 20)
            .setBatchExamples(shape.examples())
            .setMicroBatchExamples(shape.micro())
            .setWeightDecay(0.05)
            .setBeta1(0.9)
            .setBeta2(0.95)
            .setClipNorm(1)
            .setScaleRateFactor(10)
            .setTrainVision(true)
            .setCheckpointBlocks(checkpoints)
            .build();
    this.model =
        VisionLanguageModel.createForTraining(
            engine, shape.config(), Prepare.initial(shape.config(), 1));
    this.parameters = new Parameters(StudentTrainer.trainable(model, true), model.masters());
    if (quantized) {
      parameters.quantize(model.quantizableWeights(), 4, GROUP, false);
    }
    Losses losses =
        distilled
            ? new Losses(
                Variant.newBuilder()
                    .setName("bench")
                    .setDistillation("dkd")
                    .setGate(true)
                    .setRcka(true)
                    .build(),
                Grace.newBuilder().setTemperature(TEMPERATURE).setAlpha(1).setBetaDkd(4).build(),
                new SignalForm(
                    SignalForm.Rows.FULL_F32,
                    shape.config().vocab(),
                    0,
                    TEMPERATURE,
                    SignalForm.Gram.F32))
            : new Losses(Variant.getDefaultInstance(), Grace.getDefaultInstance(), null);
    this.stepper = new Stepper(engine, model, null, losses, null, parameters);
    for (int i = 0; i < shape.examples(); i++) {
      batch.add(example(shape, i, distilled));
    }
  }

  /** The demo's student, as photos.start.yaml has it. */
  public static Shape student() {
    ModelShape.Builder shape =
        ModelShape.newBuilder()
            .setImageSize(64)
            .setPatchSize(8)
            .setVisionWidth(96)
            .setVisionLayers(4)
            .setVisionHeads(3)
            .setVisionMlp(384)
            .setWidth(128)
            .setLayers(3)
            .setHeads(2)
            .setKvHeads(2)
            .setMlp(352);
    return new Shape("student", config(shape, 128), 64, 32, 16, 80, 14);
  }

  /** Four decoder layers with Qwen2-VL-2B's sizes behind a small tower. */
  public static Shape qwen2Vl2b() {
    ModelShape.Builder shape =
        ModelShape.newBuilder()
            .setImageSize(224)
            .setPatchSize(14)
            .setVisionWidth(64)
            .setVisionLayers(2)
            .setVisionHeads(2)
            .setVisionMlp(128)
            .setWidth(1536)
            .setLayers(4)
            .setHeads(12)
            .setKvHeads(2)
            .setMlp(8960);
    return new Shape("qwen2-vl-2b", config(shape, 8192), 224, 4, 1, 128, 64);
  }

  private static ModelConfig config(ModelShape.Builder shape, int vocab) {
    SpecialTokens tokens = new SpecialTokens(IMAGE, BOS, Set.of(2), 0);
    return Families.find().starting("").shaped(shape.build(), vocab, tokens);
  }

  static Example example(Shape shape, int number, boolean distilled) {
    ModelConfig c = shape.config();
    int n = c.imageTokens();
    long key = Hash.key(2, "bench-" + number);
    long[] ids = new long[1 + n + shape.textTokens()];
    Arrays.fill(ids, 1, n + 1, IMAGE);
    ids[0] = BOS;
    for (int i = n + 1; i < ids.length; i++) {
      ids[i] = 4 + Math.floorMod(Double.hashCode(Hash.gaussian(key, i)), c.vocab() - 4);
    }
    int t = shape.supervised();
    int[] rows = new int[t];
    int[] targets = new int[t];
    for (int i = 0; i < t; i++) {
      rows[i] = ids.length - t + i - 1;
      targets[i] = (int) ids[rows[i] + 1];
    }
    int size = shape.imageSize();
    ModelImage image =
        new ModelImage(
            PixelCache.of(gaussians(key, 1 << 20, 3 * size * size)),
            new long[] {3, size, size},
            new ModelImage.Grid(1, 1, n),
            n);
    ModelInput input =
        new ModelInput(
            ids,
            new boolean[ids.length],
            List.of(new ModelInput.Placed(image, 1)),
            null,
            ids.length);
    Item item = new Item("bench-" + number, input, rows, targets, new int[t]);
    return new Example(item, distilled ? signals(c, key, targets) : null);
  }

  private static Signals signals(ModelConfig c, long key, int[] targets) {
    int t = targets.length;
    float[] logits = gaussians(key, 1L << 40, t * c.vocab());
    float[][] s = new float[4][t];
    for (int i = 0; i < t; i++) {
      TeacherStatistics own = TeacherStatistics.of(logits, i, c.vocab(), targets[i], TEMPERATURE);
      s[0][i] = (float) own.targetLogProb();
      s[1][i] = (float) own.logSumExp();
      s[2][i] = (float) own.entropy();
      s[3][i] = (float) own.nonTargetLogSumExp();
    }
    int n = c.imageTokens();
    float[] gram = Rcka.gram(gaussians(key, 1L << 41, n * 16), n, 16);
    return new Signals(
        null,
        targets,
        new Signals.Statistics(s[0], s[1], s[2], s[3]),
        null,
        logits,
        new int[] {n},
        List.of(gram));
  }

  private static float[] gaussians(long key, long from, int count) {
    float[] out = new float[count];
    for (int i = 0; i < count; i++) {
      out[i] = (float) Hash.gaussian(key, from + i);
    }
    return out;
  }

  /**
   * One step. The optimizer reads every gradient, so no device is still at work on it when this
   * returns.
   *
   * @return its cross-entropy, so that nothing can be left out
   * @throws GraceException DATA, if a loss or gradient is not finite
   */
  public double step() {
    return stepper.step(
            batch, training, 1e-4, ++steps, new Stepper.Weights(0.5, 1, "step " + steps))
        .ce;
  }

  /** The gradients of a step, which add up, without the optimizer; its cross-entropy. */
  public double accumulate() {
    if (steps == 0) {
      parameters.write();
      steps++;
    }
    return stepper.accumulate(
            batch, Stepper.Limits.of(training), new Stepper.Weights(0.5, 1, "gradients"))
        .ce;
  }

  /** Bytes that native blocks keep from step to step; 0 without them. */
  public long heldBytes() {
    return model.heldBytes();
  }

  @Override
  public void close() {
    model.close();
  }
}
