package io.gracebeam.worker.engine.libtorch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.engine.Engine;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.core.Linear;
import ai.djl.training.DefaultTrainingConfig;
import ai.djl.training.EasyTrain;
import ai.djl.training.GradientCollector;
import ai.djl.training.Trainer;
import ai.djl.training.dataset.ArrayDataset;
import ai.djl.training.loss.Loss;
import ai.djl.training.optimizer.Optimizer;
import ai.djl.training.tracker.Tracker;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Life of arrays, gradients, errors, and DJL's own trainer on the engine. */
class LibTorchEngineTest {
  private final Engine engine = Engine.getEngine(LibTorchEngine.NAME);
  private final NDManager manager = engine.newBaseManager();

  @AfterEach
  void close() {
    manager.close();
  }

  @Test
  void valuesOfEveryTypeGoInAndOut() {
    assertThat(manager.create(new float[] {1, 2}).toFloatArray()).containsExactly(1, 2);
    assertThat(manager.create(new double[] {1, 2}).toDoubleArray()).containsExactly(1, 2);
    assertThat(manager.create(new long[] {1, -2}).toLongArray()).containsExactly(1, -2);
    assertThat(manager.create(new int[] {1, -2}).toIntArray()).containsExactly(1, -2);
    assertThat(manager.create(new boolean[] {true, false}).toBooleanArray())
        .containsExactly(true, false);
    assertThat(manager.create(new byte[] {1, -2}).toByteArray()).containsExactly(1, -2);
    // 1 + 2^-8 lies between two bfloat16 values and goes to the even one.
    NDArray narrow = manager.create(new Shape(3), DataType.BFLOAT16);
    narrow.set(java.nio.FloatBuffer.wrap(new float[] {1.00390625f, -3.5f, Float.NaN}));
    assertThat(narrow.toFloatArray()).containsExactly(1f, -3.5f, Float.NaN);
  }

  @Test
  void viewsAreReadInTheirOwnOrder() {
    NDArray x = manager.arange(6f).reshape(2, 3);
    assertThat(x.transpose().toFloatArray()).containsExactly(0, 3, 1, 4, 2, 5);
    assertThat(x.get(":, 1:2").toFloatArray()).containsExactly(1, 4);
    x.set(new ai.djl.ndarray.index.NDIndex("0, :"), 9f);
    assertThat(x.toFloatArray()).containsExactly(9, 9, 9, 3, 4, 5);
  }

  @Test
  void gradientsAddUpUntilZeroed() {
    NDArray w = manager.create(new float[] {2, 3});
    w.setRequiresGradient(true);
    assertThat(w.getGradient().toFloatArray()).containsExactly(0, 0);
    try (GradientCollector collector = engine.newGradientCollector()) {
      collector.backward(w.square().sum());
      collector.backward(w.square().sum());
      assertThat(w.getGradient().toFloatArray()).containsExactly(8, 12);
      collector.zeroGradients();
      assertThat(w.getGradient().toFloatArray()).containsExactly(0, 0);
    }
  }

  @Test
  void castsKeepTheGraph() {
    NDArray w = manager.create(new float[] {1.5f, -2});
    w.setRequiresGradient(true);
    try (GradientCollector collector = engine.newGradientCollector()) {
      NDArray y = w.toType(DataType.BFLOAT16, false).square().toType(DataType.FLOAT32, false);
      collector.backward(y.sum());
    }
    assertThat(w.getGradient().toFloatArray()).containsExactly(3, -4);
  }

  @Test
  void collectorsOnSeveralThreadsDoNotMeet() throws Exception {
    try (var pool = Executors.newFixedThreadPool(4)) {
      Callable<Float> work =
          () -> {
            float last = 0;
            for (int i = 1; i <= 50; i++) {
              try (NDManager own = engine.newBaseManager();
                  GradientCollector collector = engine.newGradientCollector()) {
                NDArray w = own.create(new float[] {i});
                w.setRequiresGradient(true);
                collector.backward(w.square());
                last = w.getGradient().toFloatArray()[0] / i;
              }
            }
            return last;
          };
      for (Future<Float> f : pool.invokeAll(List.of(work, work, work, work))) {
        assertThat(f.get()).isEqualTo(2f);
      }
    }
  }

  @Test
  void aClosedArrayIsNamed() {
    NDArray x = manager.create(new float[] {1, 2});
    x.close();
    assertThat(x.isReleased()).isTrue();
    assertThatThrownBy(() -> x.add(1))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("closed")
        .hasMessageContaining("float32");
    NDArray y;
    try (NDManager own = manager.newSubManager()) {
      y = own.create(new float[] {1, 2});
    }
    assertThatThrownBy(y::toFloatArray).isInstanceOf(IllegalStateException.class);
    // The engine goes on.
    assertThat(manager.create(1f).add(1).getFloat()).isEqualTo(2f);
  }

  @Test
  void errorsNameOperatorShapesAndTypes() {
    NDArray a = manager.zeros(new Shape(2, 3));
    NDArray b = manager.zeros(new Shape(2, 3), DataType.FLOAT64);
    assertThatThrownBy(() -> a.matMul(b))
        .isInstanceOf(EngineException.class)
        .hasMessageContaining("matmul(float32 (2, 3), float64 (2, 3))");
    assertThatThrownBy(() -> a.add(manager.zeros(new Shape(4))))
        .isInstanceOf(EngineException.class)
        .hasMessageContaining("add(float32 (2, 3), float32 (4))");
    assertThatThrownBy(() -> a.median())
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessage("LibTorch has no NDArray.median");
    assertThatThrownBy(() -> a.getNDArrayInternal().globalMaxPool())
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessageContaining("globalMaxPool");
    assertThatThrownBy(() -> a.set(java.nio.FloatBuffer.allocate(5)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("20 bytes")
        .hasMessageContaining("24");
    assertThatThrownBy(() -> a.reshape(4, 2))
        .isInstanceOf(EngineException.class)
        .hasMessageContaining("reshape(float32 (2, 3), [4, 2])");
    NDList many = new NDList();
    for (int i = 0; i < 10; i++) {
      many.add(i == 9 ? manager.zeros(new Shape(5)) : a);
    }
    assertThatThrownBy(() -> NDArrays.stack(many))
        .hasMessageContaining("float32 (2, 3), and 4 more)");
    assertThatThrownBy(() -> manager.zeros(new Shape(2), DataType.INT32).setRequiresGradient(true))
        .hasMessage("an array of int32 has no gradient; allowed: floating types");
    assertThatThrownBy(() -> a.matMul(null))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("arrays of one engine");
    assertThat(a.add(1).sum().getFloat()).isEqualTo(6f);
  }

  @Test
  void seedsGiveTheSameNumbers() {
    engine.setRandomSeed(5);
    float[] first = manager.randomNormal(new Shape(1000)).toFloatArray();
    engine.setRandomSeed(5);
    assertThat(manager.randomNormal(new Shape(1000)).toFloatArray()).isEqualTo(first);
    double mean = 0;
    for (float v : first) {
      mean += v / first.length;
    }
    assertThat(mean).isCloseTo(0, within(0.15));
  }

  @Test
  void aSeedSaysWhatDropoutDrops() {
    NDArray x = manager.ones(new Shape(40, 50));
    x.setRequiresGradient(true);
    engine.setRandomSeed(7);
    float[] first = dropout(x, 0.25f, true).toFloatArray();
    engine.setRandomSeed(7);
    NDArray again = dropout(x, 0.25f, true);
    assertThat(again.toFloatArray()).isEqualTo(first);
    assertThat(dropout(x, 0.25f, true).toFloatArray()).isNotEqualTo(first);
    int dropped = 0;
    for (float v : first) {
      assertThat(v).isIn(0f, 1 / 0.75f);
      dropped += v == 0 ? 1 : 0;
    }
    assertThat(dropped).isBetween(400, 600); // 500 expected, standard deviation 19
    try (GradientCollector collector = engine.newGradientCollector()) {
      collector.backward(again.sum());
    }
    assertThat(x.getGradient().toFloatArray()).isEqualTo(first);
    assertThat(dropout(x, 0.25f, false).toFloatArray()).containsOnly(1f);
    assertThat(dropout(x, 1, true).toFloatArray()).containsOnly(0f);
    assertThatThrownBy(() -> dropout(x, 1.5f, true)).hasMessageContaining("allowed: 0 to 1");
  }

  private static NDArray dropout(NDArray x, float rate, boolean training) {
    return x.getNDArrayInternal().dropout(x, rate, training).singletonOrThrow();
  }

  @Test
  void valuesArePutInOrder() {
    NDArray x = manager.zeros(new Shape(2, 3));
    NDArray out =
        x.put(manager.create(new long[] {4, 0, 5}), manager.create(new float[] {1, 2, 3}));
    assertThat(out.getShape()).isEqualTo(new Shape(2, 3));
    assertThat(out.toFloatArray()).containsExactly(2, 0, 0, 0, 1, 3);
    assertThat(x.toFloatArray()).containsOnly(0f);
  }

  @Test
  void emptyArraysAndPlacesOutside() {
    NDArray none = manager.zeros(new Shape(0, 3));
    assertThat(none.tile(new Shape(4, 6)).getShape()).isEqualTo(new Shape(0, 6));
    assertThat(none.repeat(new Shape(4, 6)).getShape()).isEqualTo(new Shape(0, 6));
    assertThat(none.add(1).softmax(-1).sum(new int[] {0}).toFloatArray()).containsExactly(0, 0, 0);
    NDArray x = manager.arange(6f).reshape(2, 3);
    assertThat(x.get("-1").toFloatArray()).containsExactly(3, 4, 5);
    assertThatThrownBy(() -> x.get("5"))
        .isInstanceOf(IndexOutOfBoundsException.class)
        .hasMessage("index 5 of axis 0 of an array (2, 3); allowed: 0 to 1");
    assertThat(x.get("1:9").getShape()).isEqualTo(new Shape(1, 3));
  }

  @Test
  void theReadmesTenLines() {
    engine.setRandomSeed(3);
    NDArray x = manager.randomNormal(new Shape(256, 2));
    NDArray y = x.matMul(manager.create(new float[] {3, -2}, new Shape(2, 1)));
    NDArray w = manager.zeros(new Shape(2, 1));
    for (int step = 0; step < 100; step++) {
      w.setRequiresGradient(true);
      try (GradientCollector collector = engine.newGradientCollector()) {
        collector.backward(x.matMul(w).sub(y).square().mean());
      }
      w.intern(w.stopGradient().sub(w.getGradient().mul(0.1f)));
    }
    assertThat(w.toFloatArray()[0]).isCloseTo(3, within(1e-3f));
    assertThat(w.toFloatArray()[1]).isCloseTo(-2, within(1e-3f));
  }

  @Test
  void djlsTrainerTrains() throws Exception {
    engine.setRandomSeed(1);
    try (Model model = Model.newInstance("line", Device.cpu(), LibTorchEngine.NAME)) {
      model.setBlock(Linear.builder().setUnits(1).build());
      NDManager m = model.getNDManager();
      NDArray x = m.randomUniform(-1, 1, new Shape(256, 2));
      NDArray y = x.matMul(m.create(new float[] {3, -2}, new Shape(2, 1))).add(0.5f);
      ArrayDataset data =
          new ArrayDataset.Builder().setData(x).optLabels(y).setSampling(32, true).build();
      DefaultTrainingConfig config =
          new DefaultTrainingConfig(Loss.l2Loss())
              .optDevices(new Device[] {Device.cpu()})
              .optOptimizer(Optimizer.adam().optLearningRateTracker(Tracker.fixed(0.1f)).build());
      try (Trainer trainer = model.newTrainer(config)) {
        trainer.initialize(new Shape(32, 2));
        EasyTrain.fit(trainer, 20, data, null);
        NDArray out =
            trainer.evaluate(new NDList(m.create(new float[] {1, 1}, new Shape(1, 2)))).get(0);
        assertThat(out.toFloatArray()[0]).isCloseTo(1.5f, within(0.05f));
      }
    }
  }
}
