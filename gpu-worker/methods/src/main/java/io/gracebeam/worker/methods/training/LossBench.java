package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.GatedDkd;
import io.gracebeam.worker.kernels.TeacherRows;
import io.gracebeam.worker.methods.model.RowHead;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/**
 * The output head with its loss and both gradients, on random states and weights, for timing.
 * Everything that outlives a pass is made before it.
 */
public final class LossBench implements AutoCloseable {
  /** Rows of an example; all examples share one teacher, whose full logits would not fit memory. */
  private static final int EXAMPLE = 256;

  private static final int TOP_K = 64;
  private static final float TEMPERATURE = 2;

  /** What the loss is. */
  public enum Loss {
    /** Cross-entropy alone. */
    CE,
    /** With gated DKD from the teacher's 64 largest logits. */
    GRACE_TOP_K,
    /** With gated DKD from all of the teacher's logits. */
    GRACE_FULL
  }

  private final NDManager manager;
  private final EngineHandle engine;
  private final NDArray weight;
  private final NDArray hidden;
  private final RowHead head;
  private final Loss loss;
  private final int vocab;
  private final List<RowLosses.Source> sources = new ArrayList<>();
  private final SignalForm shape;
  private long lossNanos;

  /** Makes states [rows, width], a weight [vocab, width] with its gradient, and the teacher. */
  public LossBench(EngineHandle engine, int rows, int vocab, int width, Loss loss) {
    this.engine = engine;
    this.manager = engine.engine().newBaseManager(engine.device());
    this.vocab = vocab;
    this.loss = loss;
    this.weight = uniform(vocab, width, (float) (1 / Math.sqrt(width)), 1);
    this.hidden = uniform(rows, width, 2, 2);
    weight.setRequiresGradient(true);
    this.head = new RowHead(weight);
    this.shape =
        new SignalForm(
            loss == Loss.GRACE_TOP_K ? SignalForm.Rows.TOP_K : SignalForm.Rows.FULL_F32,
            vocab,
            loss == Loss.GRACE_TOP_K ? TOP_K : 0,
            TEMPERATURE,
            SignalForm.Gram.NONE);
    SplittableRandom random = new SplittableRandom(3);
    int[] targets = random.ints(Math.min(rows, EXAMPLE), 0, vocab).toArray();
    Signals teacher = loss == Loss.CE ? null : teacher(targets, random);
    for (int at = 0; at < rows; at += targets.length) {
      int[] own = Arrays.copyOf(targets, Math.min(targets.length, rows - at));
      sources.add(new RowLosses.Source(own, teacher));
    }
  }

  /** Values in [-scale, scale), written where they will lie. */
  private NDArray uniform(int rows, int width, float scale, long seed) {
    NDArray out = manager.create(new Shape(rows, width), DataType.FLOAT32);
    EngineArrays.update(
        out,
        memory -> {
          long state = seed;
          for (long i = 0; i < (long) rows * width; i++) {
            state = state * 6364136223846793005L + 1442695040888963407L; // Knuth's MMIX generator
            memory.setAtIndex(ValueLayout.JAVA_FLOAT, i, scale * (int) (state >> 32) * 0x1p-31f);
          }
        });
    if (engine.compute() == DataType.FLOAT32) {
      return out;
    }
    try (out) {
      return EngineArrays.cast(out, engine.compute());
    }
  }

  private Signals teacher(int[] targets, SplittableRandom random) {
    int rows = targets.length;
    float[] logits = new float[Math.multiplyExact(rows, vocab)];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) random.nextDouble(-3, 3);
    }
    if (loss == Loss.GRACE_FULL) {
      return new Signals(null, targets, null, null, logits, new int[0], List.of());
    }
    TeacherRows top = TeacherRows.compress(logits, rows, vocab, targets, TOP_K, TEMPERATURE);
    return new Signals(
        null,
        targets,
        new Signals.Statistics(
            floats(top.scalars().targetLogProb()),
            floats(top.scalars().logSumExp()),
            floats(top.scalars().entropy()),
            floats(top.scalars().nonTargetLogSumExp())),
        top.ids(),
        top.values(),
        new int[0],
        List.of());
  }

  private static float[] floats(double[] values) {
    float[] out = new float[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = (float) values[i];
    }
    return out;
  }

  /**
   * One pass over the first rows: logits, loss, gradients with respect to the states and to the
   * weight, which adds up.
   *
   * @param bytes see {@link RowHead#backward}
   * @return mean cross-entropy
   * @throws GraceException DATA, if it is not finite
   */
  public double pass(int rows, long bytes) {
    lossNanos = 0;
    int all = (int) hidden.getShape().get(0);
    double[] shares = new double[all];
    Arrays.fill(shares, 1.0 / rows);
    RowLosses losses =
        new RowLosses(
            sources,
            vocab,
            1.0 / rows,
            loss == Loss.CE ? null : shares,
            0.5,
            loss == Loss.CE ? null : GatedDkd.Options.grace(),
            shape);
    try (NDScope scope = new NDScope();
        GradientCollector collector = engine.engine().newGradientCollector()) {
      scope.suppressNotUsedWarning();
      head.open(collector);
      NDArray some = rows == all ? hidden : hidden.get("0:" + rows);
      try (NDArray d = head.backward(some, bytes, (z, first, n) -> timed(losses, z, first, n))) {
        finite(d.get(rows - 1).toFloatArray()[0]);
      }
    }
    Losses.Total total = new Losses.Total();
    losses.addTo(total);
    finite(total.ce + total.gdkd);
    return total.ce;
  }

  private static void finite(double value) {
    if (!Double.isFinite(value)) {
      throw GraceException.data("the loss is not finite");
    }
  }

  private void timed(RowLosses losses, MemorySegment logits, int first, int count) {
    long start = System.nanoTime();
    losses.apply(logits, first, count);
    lossNanos += System.nanoTime() - start;
  }

  /** Seconds of the last pass that the loss took, without the products. */
  public double lossSeconds() {
    return lossNanos / 1e9;
  }

  @Override
  public void close() {
    manager.close();
  }
}
