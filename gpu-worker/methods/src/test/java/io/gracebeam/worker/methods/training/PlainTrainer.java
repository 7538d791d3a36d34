package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * GRACE's training as its equations stand, and nothing of the project's losses, quantized step or
 * optimizer: latent weights W and log-scales theta are the engine's leaves, the quantizer is a part
 * of the graph with a straight-through estimator for rounding, CE, GDKD and RCKA are made of the
 * engine's operators over the whole batch, and AdamW is written out, in double precision. For
 * examples of one length, full teacher logits and quantizers with a scale per group.
 */
final class PlainTrainer implements AutoCloseable {
  private static final double EPS = 1e-8;

  /** What a step of the optimizer changes. */
  private static final class Leaf {
    final NDArray array;
    final double rateFactor;
    final boolean decays;
    final double[] m;
    final double[] v;
    float[] gradient;

    Leaf(NDArray array, double rateFactor, boolean decays) {
      this.array = array;
      this.rateFactor = rateFactor;
      this.decays = decays;
      this.m = new double[(int) array.size()];
      this.v = new double[m.length];
      array.setRequiresGradient(true);
    }
  }

  private final VisionLanguageModel model;
  private final Grace grace;
  private final Map<String, Leaf> leaves = new TreeMap<>();

  /**
   * Trains all that can be trained, of a model that it changes.
   *
   * @param spec of each of the decoder's weights
   * @param thetaRateFactor of the log-scales' learning rate
   */
  PlainTrainer(VisionLanguageModel model, Grace grace, QuantSpec spec, double thetaRateFactor) {
    this.model = model;
    this.grace = grace;
    Map<String, NDArray> trained = StudentTrainer.trainable(model, true);
    List<String> quantized = model.quantizableWeights();
    trained.forEach(
        (name, array) -> leaves.put(name, new Leaf(array, 1, array.getShape().dimension() > 1)));
    for (String name : quantized) {
      NDArray w = trained.get(name);
      int rows = (int) w.getShape().get(0);
      int cols = (int) w.getShape().get(1);
      float[] start = LogScaleQuantizer.searchLogScales(w.toFloatArray(), rows, cols, spec);
      NDArray theta = EngineArrays.of(model.manager(), start, new Shape(start.length, 1));
      NDScope.unregister(theta);
      leaves.put(Parameters.THETA + name, new Leaf(theta, thetaRateFactor, false));
      model.setLinear(name, x -> x.matMul(quantized(w, theta, spec).transpose()));
    }
  }

  /** s clip(round(W / s)) with s = exp(theta), where rounding passes the gradient unchanged. */
  private static NDArray quantized(NDArray w, NDArray theta, QuantSpec spec) {
    NDArray s = theta.exp();
    NDArray u = w.reshape(-1, spec.groupSize()).div(s);
    NDArray rounded = u.add(u.round().sub(u).stopGradient());
    return rounded.clip(-spec.qn(), spec.qp()).mul(s).reshape(w.getShape());
  }

  /** What a step found. */
  record Step(double ce, double gdkd, double rcka, double norm, boolean clipped) {}

  /** One step: the losses before it, and the norm of all gradients. */
  Step step(List<Example> batch, Training t, double rate, int number, Stepper.Weights weights) {
    double[] losses = gradients(batch, weights);
    double squares = 0;
    for (Leaf leaf : leaves.values()) {
      for (float g : leaf.gradient) {
        squares += (double) g * g;
      }
    }
    double norm = Math.sqrt(squares);
    boolean clipped = norm > t.getClipNorm();
    for (Leaf leaf : leaves.values()) {
      adamW(leaf, t, rate * leaf.rateFactor, number, clipped ? t.getClipNorm() / norm : 1);
    }
    return new Step(losses[0], losses[1], losses[2], norm, clipped);
  }

  private static void adamW(Leaf leaf, Training t, double rate, int number, double factor) {
    float[] p = leaf.array.toFloatArray();
    for (int i = 0; i < p.length; i++) {
      double g = leaf.gradient[i] * factor;
      leaf.m[i] = t.getBeta1() * leaf.m[i] + (1 - t.getBeta1()) * g;
      leaf.v[i] = t.getBeta2() * leaf.v[i] + (1 - t.getBeta2()) * g * g;
      double m = leaf.m[i] / (1 - Math.pow(t.getBeta1(), number));
      double v = leaf.v[i] / (1 - Math.pow(t.getBeta2(), number));
      double kept = leaf.decays ? p[i] * (1 - rate * t.getWeightDecay()) : p[i];
      p[i] = (float) (kept - rate * m / (Math.sqrt(v) + EPS));
    }
    replace(leaf.array, p);
  }

  /** A new leaf in the place of the old one, without a gradient yet. */
  private static void replace(NDArray array, float[] values) {
    array.intern(EngineArrays.of(array.getManager(), values, array.getShape()));
    array.setRequiresGradient(true);
  }

  private double[] gradients(List<Example> batch, Stepper.Weights weights) {
    List<Item> items = batch.stream().map(Example::item).toList();
    double[] out = new double[3];
    try (GradientCollector collector = TinyWorld.ENGINE.engine().newGradientCollector();
        NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      Forward f = model.forward(manager, BatchMaker.batch(items, model.config()));
      NDArray ce = crossEntropy(manager, f.logits(), batch);
      NDArray gdkd = gatedDkd(manager, f.logits(), batch);
      NDArray rcka = relational(manager, f.visualStates(), batch);
      collector.backward(
          ce.add(gdkd.mul(number(manager, weights.beta())))
              .add(rcka.mul(number(manager, weights.omega()))));
      out[0] = ce.toFloatArray()[0];
      out[1] = gdkd.toFloatArray()[0];
      out[2] = rcka.toFloatArray()[0];
      leaves.values().forEach(leaf -> leaf.gradient = leaf.array.getGradient().toFloatArray());
    }
    return out;
  }

  /** Mean over the rows of -ln p of the target. */
  private static NDArray crossEntropy(NDManager manager, NDArray logits, List<Example> batch) {
    NDArray target = oneHot(manager, batch, logits.getShape());
    return logits
        .logSoftmax(-1)
        .mul(target)
        .sum()
        .mul(number(manager, -1.0 / logits.getShape().get(0)));
  }

  /** Equations of GRACE, section 3: binary KL by the target, KL among the others, T^2, gates. */
  private NDArray gatedDkd(NDManager manager, NDArray logits, List<Example> batch) {
    int vocab = (int) logits.getShape().get(1);
    int rows = (int) logits.getShape().get(0);
    double temperature = grace.getTemperature();
    float[] target = new float[rows]; // q_y
    float[] other = new float[rows]; // 1 - q_y
    float[] entropies = new float[rows]; // of the two, negative
    float[] among = new float[rows * vocab]; // q^ of the others, 0 for the target
    float[] amongEntropies = new float[rows]; // sum q^ ln q^
    float[] gates = new float[rows];
    double gateSum = 0;
    int row = 0;
    for (Example e : batch) {
      Signals s = e.signals();
      for (int i = 0; i < s.targets().length; i++, row++) {
        double all = 0;
        for (int v = 0; v < vocab; v++) {
          all += Math.exp(s.logits()[i * vocab + v] / temperature);
        }
        double q = Math.exp(s.logits()[i * vocab + s.targets()[i]] / temperature) / all;
        double sum = 0;
        for (int v = 0; v < vocab; v++) {
          double part = Math.exp(s.logits()[i * vocab + v] / temperature) / all / (1 - q);
          if (v != s.targets()[i]) {
            among[row * vocab + v] = (float) part;
            sum += part * Math.log(part);
          }
        }
        target[row] = (float) q;
        other[row] = (float) (1 - q);
        entropies[row] = (float) (q * Math.log(q) + (1 - q) * Math.log(1 - q));
        amongEntropies[row] = (float) sum;
        double gate = Math.exp(-s.statistics().entropy()[i] / Math.log(vocab));
        gates[row] = (float) gate;
        gateSum += gate;
      }
    }
    NDArray hot = oneHot(manager, batch, logits.getShape());
    NDArray logP = logits.mul(number(manager, 1 / temperature)).logSoftmax(-1);
    NDArray logTarget = logP.mul(hot).sum(new int[] {1});
    NDArray rest = logP.exp().mul(number(manager, 1).sub(hot));
    NDArray logOther = rest.sum(new int[] {1}).log();
    NDArray tckd =
        vector(manager, entropies)
            .sub(vector(manager, target).mul(logTarget))
            .sub(vector(manager, other).mul(logOther));
    NDArray known = EngineArrays.of(manager, among, logits.getShape());
    NDArray nckd =
        vector(manager, amongEntropies).sub(known.mul(logP).sum(new int[] {1})).add(logOther);
    return tckd.mul(number(manager, grace.getAlpha()))
        .add(nckd.mul(number(manager, grace.getBetaDkd())))
        .mul(vector(manager, gates))
        .sum()
        .mul(number(manager, temperature * temperature / gateSum));
  }

  /** Mean over the images of 1 - CKA of the centered cosine similarities. */
  private static NDArray relational(NDManager manager, NDArray states, List<Example> batch) {
    long n = states.getShape().get(0) / batch.size();
    NDArray out = number(manager, 1);
    for (int i = 0; i < batch.size(); i++) {
      NDArray v = states.get("{}:{}", i * n, (i + 1) * n);
      NDArray unit = v.div(v.mul(v).sum(new int[] {1}, true).sqrt());
      NDArray k = unit.matMul(unit.transpose());
      NDArray mean = k.mean(new int[] {1}, true);
      NDArray b = k.sub(mean).sub(mean.transpose()).add(mean.mean());
      NDArray a =
          EngineArrays.of(manager, batch.get(i).signals().grams().getFirst(), new Shape(n, n));
      NDArray norms = a.mul(a).sum().sqrt().mul(b.mul(b).sum().sqrt());
      NDArray cka = a.mul(b).sum().div(norms);
      out = out.sub(cka.mul(number(manager, 1.0 / batch.size())));
    }
    return out;
  }

  private static NDArray oneHot(NDManager manager, List<Example> batch, Shape shape) {
    float[] out = new float[(int) shape.size()];
    int row = 0;
    for (Example e : batch) {
      for (int y : e.item().targets()) {
        out[row++ * (int) shape.get(1) + y] = 1;
      }
    }
    return EngineArrays.of(manager, out, shape);
  }

  private static NDArray vector(NDManager manager, float[] values) {
    return EngineArrays.of(manager, values, new Shape(values.length));
  }

  private static NDArray number(NDManager manager, double value) {
    return EngineArrays.of(manager, new float[] {(float) value}, new Shape(1));
  }

  /** Latent weights by name, and log-scales by {@code theta.} and the weight's name. */
  Map<String, float[]> values() {
    Map<String, float[]> out = new TreeMap<>();
    leaves.forEach((name, leaf) -> out.put(name, leaf.array.toFloatArray()));
    return out;
  }

  /** AdamW's first moments, by the same names. */
  Map<String, float[]> firstMoments() {
    Map<String, float[]> out = new TreeMap<>();
    leaves.forEach((name, leaf) -> out.put(name, floats(leaf.m)));
    return out;
  }

  /** Its second moments. */
  Map<String, float[]> secondMoments() {
    Map<String, float[]> out = new TreeMap<>();
    leaves.forEach((name, leaf) -> out.put(name, floats(leaf.v)));
    return out;
  }

  private static float[] floats(double[] values) {
    float[] out = new float[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = (float) values[i];
    }
    return out;
  }

  @Override
  public void close() {
    model.close();
  }
}
