package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.model.Batch;
import io.gracebeam.worker.methods.model.TrainingPass;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

/**
 * One optimizer step. The loss kernels give gradients by logits and visual states in closed form;
 * the head turns those of the logits into gradients by its inputs ({@link
 * io.gracebeam.worker.methods.model.RowHead}), and the scalar (rows * dRows).sum() + (states *
 * dStates).sum() carries them into the engine's backward pass. Micro-batches are run one after
 * another, shorter examples first, so that little is computed for padding.
 */
final class Stepper {
  /** Loss weights of the step, and its name for errors. */
  record Weights(double beta, double omega, String where) {}

  /**
   * What is computed at a time.
   *
   * @param examples of a micro-batch; below 1 all of the batch
   * @param lossBytes of logits and their gradient, then of similarities; at least one row of them
   * @param checkpoints whether decoder blocks are computed again in the backward pass
   */
  record Limits(int examples, long lossBytes, boolean checkpoints) {
    private static final int DEFAULT_MB = 256;

    static Limits of(Training t) {
      return micro(t.getMicroBatchExamples())
          .loss((long) (t.getLossMemoryMb() == 0 ? DEFAULT_MB : t.getLossMemoryMb()) << 20)
          .checkpoints(t.getCheckpointBlocks());
    }

    /** Micro-batches of that size, and otherwise what holds where nothing is said. */
    static Limits micro(int examples) {
      return new Limits(examples, (long) DEFAULT_MB << 20, false);
    }

    Limits loss(long bytes) {
      return new Limits(examples, bytes, checkpoints);
    }

    Limits checkpoints(boolean wanted) {
      return new Limits(examples, lossBytes, wanted);
    }
  }

  private final EngineHandle engine;
  private final VisionLanguageModel model;
  private final BatchMaker maker;
  private final Losses losses;
  private final SignalReader signals;
  private final Parameters parameters;

  Stepper(
      EngineHandle engine,
      VisionLanguageModel model,
      BatchMaker maker,
      Losses losses,
      SignalReader signals,
      Parameters parameters) {
    this.engine = engine;
    this.model = model;
    this.maker = maker;
    this.losses = losses;
    this.signals = signals;
    this.parameters = parameters;
  }

  /** Writes the quantized weights, accumulates the gradients of a batch, and steps. */
  Losses.Total step(int[] batch, Training training, double rate, int number, Weights weights) {
    parameters.write();
    Losses.Total total = accumulate(batch, Limits.of(training), weights);
    parameters.step(training, rate, number, weights.where() + " (examples " + names(batch) + ")");
    return total;
  }

  /** Steps on examples that need not be read. */
  Losses.Total step(
      List<Example> batch, Training training, double rate, int number, Weights weights) {
    parameters.write();
    Losses.Total total = accumulate(batch, Limits.of(training), weights);
    parameters.step(training, rate, number, weights.where());
    return total;
  }

  /** Accumulates the gradients of a batch in the engine; returns its losses. */
  Losses.Total accumulate(int[] batch, Limits limits, Weights weights) {
    List<Integer> good = new ArrayList<>();
    for (int i : batch) {
      if (maker.usable(i) && (signals == null || signals.scalars(i).error() == null)) {
        good.add(i);
      }
    }
    if (good.isEmpty()) {
      throw GraceException.data(
          "%s: no usable example among %s: %s",
          weights.where(), names(batch), maker.bad().getOrDefault(batch[0], "no teacher signals"));
    }
    // All that the teacher says is in memory for one micro-batch at a time.
    good.sort(Comparator.comparingInt(i -> maker.item(i).length()));
    List<Example> weighed =
        good.stream().map(i -> example(i, signals == null ? null : signals.scalars(i))).toList();
    return accumulate(
        good.size(),
        losses.norms(weighed),
        at -> {
          int i = good.get(at);
          return example(i, signals == null ? null : teacherOf(i, maker.item(i)));
        },
        limits,
        weights);
  }

  private Example example(int index, Signals own) {
    return new Example(maker.item(index), own);
  }

  /** Accumulates the gradients of examples that need not be read. */
  Losses.Total accumulate(List<Example> batch, Limits limits, Weights weights) {
    List<Example> sorted = new ArrayList<>(batch);
    sorted.sort(Comparator.comparingInt(e -> e.item().length()));
    return accumulate(sorted.size(), losses.norms(sorted), sorted::get, limits, weights);
  }

  private Losses.Total accumulate(
      int count, Losses.Norms norms, IntFunction<Example> example, Limits limits, Weights weights) {
    Losses.Total total = new Losses.Total();
    int micro = limits.examples() < 1 ? count : limits.examples();
    try (GradientCollector collector = engine.engine().newGradientCollector()) {
      model.head().open(collector);
      for (int at = 0; at < count; at += micro) {
        List<Example> part =
            IntStream.range(at, Math.min(count, at + micro)).mapToObj(example).toList();
        micro(collector, part, norms, limits, weights, total);
      }
    }
    return total;
  }

  private void micro(
      GradientCollector collector,
      List<Example> part,
      Losses.Norms norms,
      Limits limits,
      Weights weights,
      Losses.Total total) {
    List<Item> items = part.stream().map(Example::item).toList();
    List<Signals> teacher =
        part.stream().map(Example::signals).filter(java.util.Objects::nonNull).toList();
    try (NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      Batch batch = BatchMaker.batch(items, model.config());
      TrainingPass f =
          limits.checkpoints()
              ? model.checkpointedPass(manager, batch)
              : model.trainingPass(manager, batch);
      RowLosses tokens = losses.rows(items, teacher, model.config().vocab(), norms, weights.beta());
      NDArray d = model.head().backward(f.rows(), limits.lossBytes(), tokens::apply);
      tokens.addTo(total);
      finite(new float[] {(float) (total.ce + total.gdkd)}, weights, items);
      NDArray dStates =
          losses.relates() && f.visualStates() != null
              ? relations(
                  f.visualStates(),
                  part,
                  new Losses.Relation(norms.images(), weights.omega(), limits.lossBytes()),
                  weights,
                  total)
              : null;
      finite(new float[] {(float) total.rcka}, weights, items);
      f.backward(collector, d, dStates);
    }
  }

  /**
   * Gradient of the relational losses with respect to the states [visual tokens, d], image by
   * image; 0 for images that are too small.
   */
  private NDArray relations(
      NDArray visual,
      List<Example> part,
      Losses.Relation how,
      Weights weights,
      Losses.Total total) {
    NDManager manager = visual.getManager();
    NDArray out = manager.zeros(visual.getShape(), DataType.FLOAT32);
    List<Item> items = part.stream().map(Example::item).toList();
    long width = visual.getShape().get(1);
    int at = 0;
    try (NDArray states = visual.stopGradient()) {
      for (Example example : part) {
        int[] tokens = example.item().visualTokens();
        for (int k = 0; k < tokens.length; k++) {
          int n = tokens[k];
          if (Losses.relates(n)) {
            NDIndex image = new NDIndex().addSliceDim(at, at + n);
            try (NDArray own = states.get(image)) {
              float[] values = own.toFloatArray();
              finite(values, weights, items);
              float[] gram = example.signals().grams().get(k);
              float[] d = losses.relation(gram, values, n, how, total);
              try (NDArray gradient = EngineArrays.of(manager, d, new Shape(n, width))) {
                out.set(image, gradient);
              }
            }
          }
          at += n;
        }
      }
    }
    return out;
  }

  private Signals teacherOf(int index, Item item) {
    Signals s = signals.get(index);
    if (!Arrays.equals(s.targets(), item.targets())) {
      throw GraceException.user(
          "example %s: teacher and student tokenize its answers differently; allowed is the same"
              + " vocabulary",
          item.id());
    }
    if (losses.relates() && s.grams().size() < s.visualTokens().length) {
      throw GraceException.user("RCKA needs Gram matrices; the teacher signals have none");
    }
    if (losses.relates() && !Arrays.equals(s.visualTokens(), item.visualTokens())) {
      throw GraceException.user(
          "example %s: RCKA needs Gram matrices of the student's visual tokens; its images have %s,"
              + " those of the teacher signals %s",
          item.id(), Arrays.toString(item.visualTokens()), Arrays.toString(s.visualTokens()));
    }
    return s;
  }

  private static void finite(float[] values, Weights weights, List<Item> items) {
    for (float v : values) {
      if (!Float.isFinite(v)) {
        throw GraceException.data(
            "%s: the loss is not finite; examples %s",
            weights.where(), items.stream().map(Item::id).toList());
      }
    }
  }

  private String names(int[] batch) {
    StringBuilder out = new StringBuilder();
    for (int i = 0; i < Math.min(8, batch.length); i++) {
      out.append(i > 0 ? ", " : "").append(batch[i]);
    }
    return out.append(batch.length > 8 ? ", ..." : "").toString();
  }
}
