package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Combines the shards of a round (DiLoCo, arXiv 2311.08105): the difference between the round's
 * start and the mean of the shards is the gradient of a Nesterov step on the latent weights;
 * log-scales, moments and controller are averaged plainly. Sums run over a fixed binary tree of
 * shard numbers, so the result depends on nothing else. The outer momentum travels in the state
 * under {@code outer.}.
 */
public final class OuterStep {
  private static final String MOMENTUM = "outer.";

  private OuterStep() {}

  /**
   * Runs the work. Inputs by role: {@code previous} (model or trained folder), {@code shard-0} to
   * {@code shard-(K-1)} (trained folders).
   *
   * @return measures: norm of the outer gradient, shards
   * @throws GraceException data, if the shards' tensors differ in name or size
   */
  public static SortedMap<String, Double> run(
      AverageWork work, Map<String, Path> inputs, Path outDir, Progress progress) {
    Path previous = Files2.input(inputs, "previous");
    int shards = Math.max(1, work.getShards());
    List<Path> folders = new ArrayList<>();
    for (int i = 0; i < shards; i++) {
      folders.add(Files2.input(inputs, "shard-" + i));
    }
    Path previousModel = Files2.modelFolder(previous);
    SortedMap<String, float[]> oldState = new TreeMap<>();
    if (Files.exists(previous.resolve(StateFile.FILE))) {
      oldState = StateFile.read(previous.resolve(StateFile.FILE));
    }
    List<Map<String, Tensor>> models = new ArrayList<>();
    List<SortedMap<String, float[]>> states = new ArrayList<>();
    for (Path f : folders) {
      models.add(ModelFolder.open(Files2.modelFolder(f)).tensors());
      states.add(StateFile.read(f.resolve(StateFile.FILE)));
    }
    SortedMap<String, float[]> state = new TreeMap<>();
    for (String name : states.getFirst().keySet()) {
      if (!name.startsWith(MOMENTUM)) {
        state.put(name, mean(states.stream().map(s -> s.get(name)).toList(), name));
      }
    }
    SortedMap<String, Tensor> out = new TreeMap<>();
    double square = 0;
    for (Map.Entry<String, Tensor> e : ModelFolder.open(previousModel).tensors().entrySet()) {
      String name = e.getKey();
      float[] w = e.getValue().floats();
      float[] average =
          mean(
              models.stream().map(m -> m.containsKey(name) ? m.get(name).floats() : null).toList(),
              name);
      float[] momentum = oldState.getOrDefault(MOMENTUM + name, new float[w.length]);
      square +=
          step(
              w,
              average,
              momentum,
              work.getOuter().getLearningRate(),
              work.getOuter().getMomentum(),
              name);
      if (work.getOuter().getMomentum() > 0) {
        state.put(MOMENTUM + name, momentum);
      }
      out.put(name, Tensor.of(e.getValue().shape(), w));
    }
    Path folder = Files2.folder(outDir.resolve("model"));
    Path source = Files2.modelFolder(folders.getFirst());
    ModelFolder.open(source).config().write(folder);
    CheckpointWriter.write(folder, out);
    Files2.copySideFiles(source, folder);
    StateFile.write(outDir.resolve(StateFile.FILE), state);
    curves(previous, folders).write(outDir);
    progress.report(1, "outer step over %d shards".formatted(shards));
    SortedMap<String, Double> measures = new TreeMap<>();
    measures.put("outerGradientNorm", Math.sqrt(square));
    measures.put("shards", (double) shards);
    return measures;
  }

  /**
   * One Nesterov step in place (Sutskever et al. 2013, in the form of torch.optim.SGD): g = w -
   * average; momentum = mu momentum + g; w -= lr (g + mu momentum).
   *
   * @return sum of the squares of g
   */
  static double step(
      float[] w, float[] average, float[] momentum, double lr, double mu, String name) {
    if (average.length != w.length || momentum.length != w.length) {
      throw GraceException.data(
          "outer step: %s has %d values in the shards and %d before the round",
          name, average.length, w.length);
    }
    double square = 0;
    for (int i = 0; i < w.length; i++) {
      double g = (double) w[i] - average[i];
      double m = mu * momentum[i] + g;
      momentum[i] = (float) m;
      w[i] = (float) (w[i] - lr * (g + mu * m));
      square += g * g;
    }
    return square;
  }

  /** Mean over a fixed binary tree of positions. */
  static float[] mean(List<float[]> parts, String name) {
    float[] first = parts.getFirst();
    for (float[] p : parts) {
      if (p == null || first == null || p.length != first.length) {
        throw GraceException.data("outer step: the shards differ in %s", name);
      }
    }
    double[] sum = sum(parts, 0, parts.size());
    float[] out = new float[first.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = (float) (sum[i] / parts.size());
    }
    return out;
  }

  private static double[] sum(List<float[]> parts, int from, int to) {
    if (to - from == 1) {
      float[] p = parts.get(from);
      double[] out = new double[p.length];
      for (int i = 0; i < out.length; i++) {
        out[i] = p[i];
      }
      return out;
    }
    int middle = (from + to) >>> 1;
    double[] left = sum(parts, from, middle);
    double[] right = sum(parts, middle, to);
    for (int i = 0; i < left.length; i++) {
      left[i] += right[i];
    }
    return left;
  }

  /** Curves of earlier rounds, then the mean of the shards' values per step. */
  private static Curves curves(Path previous, List<Path> folders) {
    Curves out =
        Files.exists(previous.resolve(StateFile.FILE)) ? Curves.read(previous) : new Curves();
    List<Curves> all = folders.stream().map(Curves::read).toList();
    for (int i = 0; i < all.getFirst().rows().size(); i++) {
      Map<String, Double> row = new TreeMap<>();
      for (String key : all.getFirst().rows().get(i).keySet()) {
        double sum = 0;
        for (Curves c : all) {
          sum += c.rows().get(i).get(key);
        }
        row.put(key, sum / all.size());
      }
      out.add(row);
    }
    return out;
  }
}
