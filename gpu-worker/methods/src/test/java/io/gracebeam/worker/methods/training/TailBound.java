package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.GatedDkd;
import io.gracebeam.worker.methods.signals.SignalForm;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.Arrays;
import java.util.List;

/** What the top-k form can lose; {@link TeacherCacheErrorTest} has the derivation. */
final class TailBound {
  private static final double T = 2;

  private TailBound() {}

  /**
   * Bounds of the top-k error of the loss and of its gradient by the logits in L1, from what the
   * cache holds; then the errors themselves, for which the online teacher is needed.
   */
  static double[] of(
      List<Signals> cache, List<Signals> online, SignalForm shape, float[] student, Variant v) {
    double loss = 0;
    double gradient = 0;
    double lost = 0;
    double moved = 0;
    double gates = 0;
    int vocab = shape.vocab();
    int k = shape.k();
    int row = 0;
    for (int e = 0; e < cache.size(); e++) {
      Signals s = cache.get(e);
      for (int t = 0; t < s.tokens(); t++, row++) {
        int y = s.targets()[t];
        boolean[] listed = new boolean[vocab];
        listed[y] = true;
        double mass = 1;
        double smallest = Double.POSITIVE_INFINITY;
        for (int j = t * k; j < (t + 1) * k; j++) {
          double q = Math.exp(s.logits()[j] / T - s.statistics().nonTargetLogSumExp()[t]);
          smallest = Math.min(smallest, q);
          mass -= s.ids()[j] == y ? 0 : q;
          listed[s.ids()[j]] = true;
        }
        mass = Math.max(0, mass);
        double worst = worst(student, row * vocab, listed, smallest / mass);
        double qRest = s.statistics().nonTargetLogSumExp()[t];
        double qTarget = (s.statistics().targetLogProb()[t] + s.statistics().logSumExp()[t]) / T;
        double beta = v.getDistillation().equals("kd") ? 1 / (1 + Math.exp(qTarget - qRest)) : 4;
        double gate = v.getGate() ? GatedDkd.gate(s.statistics().entropy()[t], vocab) : 1;
        gates += gate;
        loss += gate * T * T * beta * mass * worst;
        gradient += gate * T * beta * mass * Math.min(2, Math.sqrt(2 * worst));
        double[] tail = tail(online.get(e).logits(), t * vocab, student, row * vocab, listed);
        lost += gate * T * T * beta * mass * tail[0];
        moved += gate * T * beta * mass * tail[1];
      }
    }
    return new double[] {loss / gates, gradient / gates, lost / gates, moved / gates};
  }

  /** KL(q || p) and |q - p| in L1 over the ids that are not listed. */
  private static double[] tail(float[] teacher, int at, float[] student, int base, boolean[] no) {
    double q = 0;
    double p = 0;
    for (int v = 0; v < no.length; v++) {
      q += no[v] ? 0 : Math.exp(teacher[at + v] / T);
      p += no[v] ? 0 : Math.exp(student[base + v] / T);
    }
    double[] out = new double[2];
    for (int v = 0; v < no.length; v++) {
      if (!no[v]) {
        double qv = Math.exp(teacher[at + v] / T) / q;
        double pv = Math.exp(student[base + v] / T) / p;
        out[0] += qv * Math.log(qv / pv);
        out[1] += Math.abs(qv - pv);
      }
    }
    return out;
  }

  /** Largest KL(q || p) over the ids that are not listed, for q of at most cap each. */
  private static double worst(float[] z, int base, boolean[] listed, double cap) {
    double[] p = new double[listed.length];
    int n = 0;
    double sum = 0;
    for (int v = 0; v < listed.length; v++) {
      if (!listed[v]) {
        p[n] = Math.exp(z[base + v] / T);
        sum += p[n++];
      }
    }
    Arrays.sort(p, 0, n);
    double c = cap * n >= 1 ? Math.min(1, cap) : 1;
    double left = 1;
    double out = 0;
    for (int i = 0; i < n && left > 0; i++) {
      double q = Math.min(c, left);
      out += q * Math.log(q * sum / p[i]);
      left -= q;
    }
    return out;
  }
}
