package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.Rcka;
import io.gracebeam.worker.kernels.TeacherStatistics;
import io.gracebeam.worker.methods.data.Hash;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.data.PixelCache;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.model.LlavaModel;
import io.gracebeam.worker.methods.signals.SignalHeader;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.ArrayList;
import java.util.List;

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
   * @param examples per step
   * @param micro examples per micro-batch
   * @param textTokens tokens behind the image's
   * @param supervised of those, at the end
   */
  public record Shape(
      String name, LlavaConfig config, int examples, int micro, int textTokens, int supervised) {
    /** The same examples in so many micro-batches, of which there are at most as many. */
    public Shape inMicroBatches(int count) {
      if (count < 1 || examples % count != 0) {
        throw GraceException.bug("%d examples in %d micro-batches", examples, count);
      }
      return new Shape(name, config, examples, examples / count, textTokens, supervised);
    }
  }

  private final LlavaModel model;
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

  /** The same, perhaps with {@code checkpoint_blocks}. */
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
        LlavaModel.createForTraining(engine, shape.config(), Prepare.initial(shape.config(), 1));
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
                new SignalHeader(
                    SignalHeader.Form.FULL_F32,
                    shape.config().vocab(),
                    0,
                    TEMPERATURE,
                    SignalHeader.Gram.F32,
                    shape.config().imageTokens(),
                    0,
                    0,
                    0))
            : new Losses(Variant.getDefaultInstance(), Grace.getDefaultInstance(), null);
    this.stepper = new Stepper(engine, model, null, losses, null, parameters);
    for (int i = 0; i < shape.examples(); i++) {
      batch.add(example(shape, i, distilled));
    }
  }

  /** The demo's student, as photos.start.yaml has it. */
  public static Shape student() {
    LlavaConfig.Vision vision = new LlavaConfig.Vision(64, 8, 96, 4, 3, 384, 96, 1e-5);
    LlavaConfig.Text text = new LlavaConfig.Text(128, 128, 3, 2, 2, 64, 352, 2048, 1e-5, 10000);
    return new Shape("student", config(vision, text), 32, 16, 80, 14);
  }

  /** Four decoder layers with Qwen2-VL-2B's sizes behind a small tower. */
  public static Shape qwen2Vl2b() {
    LlavaConfig.Vision vision = new LlavaConfig.Vision(224, 14, 64, 2, 2, 128, 64, 1e-5);
    LlavaConfig.Text text = new LlavaConfig.Text(8192, 1536, 4, 12, 2, 128, 8960, 4096, 1e-6, 1e6);
    return new Shape("qwen2-vl-2b", config(vision, text), 4, 1, 128, 64);
  }

  private static LlavaConfig config(LlavaConfig.Vision vision, LlavaConfig.Text text) {
    return new LlavaConfig(vision, text, IMAGE, vision.patches(), -2, true, BOS, 2, 0, true, false);
  }

  static Example example(Shape shape, int number, boolean distilled) {
    LlavaConfig c = shape.config();
    int n = c.imageTokens();
    long key = Hash.key(2, "bench-" + number);
    long[] ids = new long[1 + n + shape.textTokens()];
    java.util.Arrays.fill(ids, 1, n + 1, IMAGE);
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
    float[] pixels = gaussians(key, 1 << 20, 3 * c.vision().imageSize() * c.vision().imageSize());
    Item item = new Item("bench-" + number, ids, rows, targets, new int[t]);
    return new Example(item, PixelCache.of(pixels), distilled ? signals(c, key, targets) : null);
  }

  private static Signals signals(LlavaConfig c, long key, int[] targets) {
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
    return new Signals(null, targets, s[0], s[1], s[2], s[3], null, logits, gram);
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
