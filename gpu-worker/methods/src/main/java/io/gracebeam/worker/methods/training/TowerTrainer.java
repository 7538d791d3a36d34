package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.TokenLosses;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.data.Hash;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.model.VisionPass;
import io.gracebeam.worker.methods.model.VisionTower;
import io.gracebeam.worker.methods.work.Progress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Pre-trains the vision tower, in place of CLIP's contrastive training: each cell of a photo grid
 * is classified from the mean of its patches' features by a linear head, which is thrown away
 * afterwards.
 */
final class TowerTrainer {
  private TowerTrainer() {}

  /** Trains the tower of the model; leaves the new weights in the model's arrays. */
  static void run(
      EngineHandle engine,
      VisionLanguageModel model,
      Dataset dataset,
      BatchMaker maker,
      Training t,
      long seed,
      Curves curves,
      Progress progress) {
    List<String> classes = dataset.classes();
    int grid = grid(dataset);
    VisionTower.PatchFeatures sizes = model.patchFeatures();
    int dv = sizes.width();
    int patches = sizes.patches();
    int[] all = dataset.shard(0, 1);
    float[] headValues = new float[classes.size() * dv];
    long key = Hash.key(seed, "tower-head");
    for (int i = 0; i < headValues.length; i++) {
      headValues[i] = (float) (Hash.gaussian(key, i) / Math.sqrt(dv));
    }
    long order = Hash.key(seed, "tower-order");
    try (NDManager own = model.manager().newSubManager()) {
      NDArray head = EngineArrays.of(own, headValues, new Shape(classes.size(), dv));
      NDArray pool = EngineArrays.of(own, pool(grid, patches), new Shape(1, grid * grid, patches));
      Map<String, NDArray> trainable = new LinkedHashMap<>();
      StudentTrainer.trainable(model, true)
          .forEach(
              (n, a) -> {
                if (model.layout().get(n).place().part() == Part.VISION) {
                  trainable.put(n, a);
                }
              });
      trainable.put("head", head);
      Parameters parameters = new Parameters(trainable, model.masters());
      for (int step = 0; step < t.getSteps(); step++) {
        if (progress.canceled()) {
          throw GraceException.worker("tower pre-training was canceled at step %d", step);
        }
        parameters.write();
        int[] batch = Dataset.batch(all, t.getBatchExamples(), order, step);
        double loss = accumulate(engine, model, dataset, maker, batch, t, head, pool, step);
        double rate = Schedule.rate(t, step, t.getSteps());
        parameters.step(t, rate, step + 1, "tower step " + (step + 1));
        Map<String, Double> row = new TreeMap<>();
        row.put("step", step + 1.0);
        row.put("tower", loss);
        row.put("lr", rate);
        curves.add(row);
        progress.report(
            (step + 1.0) / t.getSteps(),
            "vision tower: step %d of %d, loss %.3f".formatted(step + 1, t.getSteps(), loss));
      }
      trainable.values().forEach(a -> a.setRequiresGradient(false));
    }
  }

  private static double accumulate(
      EngineHandle engine,
      VisionLanguageModel model,
      Dataset dataset,
      BatchMaker maker,
      int[] batch,
      Training t,
      NDArray head,
      NDArray pool,
      int step) {
    List<Integer> good = new ArrayList<>();
    for (int i : batch) {
      if (maker.usable(i)) {
        good.add(i);
      }
    }
    if (good.isEmpty()) {
      throw GraceException.data("tower step %d: no usable example in the batch", step + 1);
    }
    int micro = t.getMicroBatchExamples() < 1 ? good.size() : t.getMicroBatchExamples();
    double loss = 0;
    try (GradientCollector collector = engine.engine().newGradientCollector()) {
      for (int at = 0; at < good.size(); at += micro) {
        int[] part =
            good.subList(at, Math.min(good.size(), at + micro)).stream()
                .mapToInt(Integer::intValue)
                .toArray();
        double share = (double) part.length / good.size();
        try (NDManager manager = model.manager().newSubManager();
            NDScope scope = new NDScope()) {
          scope.suppressNotUsedWarning();
          VisionPass pass = model.visionPass(manager, images(maker, part));
          NDArray features = pass.features();
          long n = features.getShape().get(1);
          if (n != pool.getShape().get(2)) {
            features = features.get(":, 1:, :");
          }
          NDArray cells = pool.matMul(features).reshape(-1, head.getShape().get(1));
          NDArray logits = cells.matMul(head.transpose());
          int[] targets = targets(dataset, part);
          float[] d = finite(logits.toFloatArray(), step);
          int vocab = dataset.classes().size();
          TokenLosses.Result losses =
              TokenLosses.apply(
                  new TokenLosses.Batch(
                      d,
                      new TokenLosses.Rows(
                          targets.length,
                          vocab,
                          targets,
                          share / targets.length,
                          null,
                          null,
                          null)),
                  d);
          loss += share * Arrays.stream(losses.ce()).average().orElse(0);
          collector.backward(logits.mul(EngineArrays.of(manager, d, logits.getShape())).sum());
          pass.backward(collector);
        }
      }
    }
    return loss;
  }

  /** The one image of each example. */
  private static List<ModelImage> images(BatchMaker maker, int[] part) {
    List<ModelImage> out = new ArrayList<>();
    for (int i : part) {
      Item item = maker.item(i);
      if (item.input().images().size() != 1) {
        throw GraceException.data(
            "example %s: %d images; tower pre-training needs one in each example",
            item.id(), item.input().images().size());
      }
      out.add(item.input().images().getFirst().image());
    }
    return out;
  }

  private static float[] finite(float[] v, int step) {
    for (float x : v) {
      if (!Float.isFinite(x)) {
        throw GraceException.data("tower step %d: the loss is not finite", step + 1);
      }
    }
    return v;
  }

  /** Averages the patches whose center lies in each cell: [cells, patches]. */
  static float[] pool(int grid, int patches) {
    int side = (int) Math.round(Math.sqrt(patches));
    if (side < grid) {
      throw GraceException.user(
          "%d x %d patches cannot tell the cells of a %d x %d grid apart; allowed are smaller"
              + " patches",
          side, side, grid, grid);
    }
    float[] out = new float[grid * grid * patches];
    int[] count = new int[grid * grid];
    int[] cellOf = new int[patches];
    for (int p = 0; p < patches; p++) {
      int row = (2 * (p / side) + 1) * grid / (2 * side);
      int col = (2 * (p % side) + 1) * grid / (2 * side);
      cellOf[p] = row * grid + col;
      count[cellOf[p]]++;
    }
    for (int p = 0; p < patches; p++) {
      out[cellOf[p] * patches + p] = 1f / count[cellOf[p]];
    }
    return out;
  }

  private static int[] targets(Dataset dataset, int[] part) {
    return java.util.Arrays.stream(part)
        .flatMap(
            i ->
                dataset.example(i).cells().stream()
                    .mapToInt(
                        c -> {
                          int k = dataset.classes().indexOf(c);
                          if (k < 0) {
                            throw GraceException.data(
                                "example %s: cell class '%s' is not in classes.json",
                                dataset.example(i).id(), c);
                          }
                          return k;
                        }))
        .toArray();
  }

  private static int grid(Dataset dataset) {
    int cells = dataset.example(0).cells().size();
    int grid = (int) Math.round(Math.sqrt(cells));
    for (Dataset.Example e : dataset.examples()) {
      if (cells == 0 || e.cells().size() != cells || grid * grid != cells) {
        throw GraceException.data(
            "example %s: %d \"cells\"; tower pre-training needs the same square number in each"
                + " example",
            e.id(), e.cells().size());
      }
    }
    if (dataset.classes().size() < 2) {
      throw GraceException.data("classes.json: tower pre-training needs at least 2 classes");
    }
    return grid;
  }
}
