package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.GatedDkd;
import io.gracebeam.worker.kernels.Rcka;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The total loss CE + beta GDKD + omega RCKA (GRACE, arXiv 2601.22709, eq. 21) of a batch that is
 * computed in micro-batches. All means are over the whole batch: CE over its supervised tokens,
 * GDKD weighted by the gates of all of them, RCKA over its images of at least 4 visual tokens.
 */
final class Losses {
  /** Sums over the batch. */
  static final class Total {
    double ce;
    double gdkd;
    double rcka;
  }

  private static final int LEAST_TOKENS = 4;

  private final GatedDkd.Options options;
  private final SignalForm shape;
  private final boolean rcka;

  /** Losses of a variant; {@code shape} is null without a teacher. */
  Losses(Variant variant, Grace grace, SignalForm shape) {
    GatedDkd.Mode mode =
        switch (variant.getDistillation()) {
          case "", "none" -> null;
          case "kd" -> GatedDkd.Mode.KD;
          case "dkd" -> GatedDkd.Mode.DKD;
          default ->
              throw GraceException.user(
                  "distillation '%s'; allowed are none, kd, dkd", variant.getDistillation());
        };
    this.options =
        mode == null
            ? null
            : new GatedDkd.Options(
                mode,
                variant.getGate(),
                grace.getTemperature(),
                grace.getAlpha(),
                grace.getBetaDkd());
    this.rcka = variant.getRcka();
    this.shape = shape;
  }

  boolean distils() {
    return options != null;
  }

  boolean relates() {
    return rcka;
  }

  /** Whether an image has enough visual tokens for its Gram matrix to say something. */
  static boolean relates(int visualTokens) {
    return visualTokens >= LEAST_TOKENS;
  }

  boolean needsTeacher() {
    return options != null || rcka;
  }

  /**
   * Normalizers of a batch.
   *
   * @param images those that RCKA is computed of
   */
  record Norms(int tokens, double gates, int images) {}

  /** Sums what the means are divided by. */
  Norms norms(List<Example> batch) {
    int tokens = 0;
    double gates = 0;
    int images = 0;
    for (Example e : batch) {
      tokens += e.item().targets().length;
      if (e.signals() != null) {
        images += (int) Arrays.stream(e.item().visualTokens()).filter(Losses::relates).count();
        gates += options == null ? 0 : gates(e.signals());
      }
    }
    return new Norms(tokens, gates, images);
  }

  private double gates(Signals s) {
    double out = 0;
    for (float h : s.statistics().entropy()) {
      out += gate(h);
    }
    return out;
  }

  /**
   * Token losses of a micro-batch.
   *
   * @param signals of the items; empty without a teacher
   * @param beta weight of GDKD in the gradient
   */
  RowLosses rows(List<Item> items, List<Signals> signals, int vocab, Norms norms, double beta) {
    List<RowLosses.Source> sources = new ArrayList<>();
    double[] shares = options == null ? null : shares(signals, norms);
    for (int i = 0; i < items.size(); i++) {
      sources.add(
          new RowLosses.Source(items.get(i).targets(), options == null ? null : signals.get(i)));
    }
    return new RowLosses(sources, vocab, 1.0 / norms.tokens(), shares, beta, options, shape);
  }

  /** Each token's gate over the sum of the batch's gates. */
  private double[] shares(List<Signals> signals, Norms norms) {
    double[] out =
        new double[signals.stream().mapToInt(s -> s.statistics().entropy().length).sum()];
    int at = 0;
    for (Signals s : signals) {
      for (float h : s.statistics().entropy()) {
        out[at++] = gate(h) / norms.gates();
      }
    }
    return out;
  }

  private double gate(double entropy) {
    return options.gate() ? GatedDkd.gate(entropy, shape.vocab()) : 1;
  }

  /**
   * How relational losses are computed.
   *
   * @param images by whose number they are divided
   * @param weight of RCKA in the gradient
   * @param bytes bound of the memory for similarities, see {@link Rcka#apply(float[], float[], int,
   *     int, long)}
   */
  record Relation(int images, double weight, long bytes) {}

  /**
   * Adds the relational loss of an image to the total.
   *
   * @param gram of the teacher, [n, n]
   * @param states student states at its visual positions, [n, d]
   * @return gradient of weight times RCKA with respect to the states
   */
  float[] relation(float[] gram, float[] states, int n, Relation how, Total total) {
    Rcka.Result r = Rcka.apply(gram, states, n, states.length / n, how.bytes());
    total.rcka += r.loss() / how.images();
    double scale = how.weight() / how.images();
    float[] out = r.dV();
    for (int j = 0; j < out.length; j++) {
      out[j] = (float) (scale * out[j]);
    }
    return out;
  }
}
