package io.gracebeam.worker.kernels;

/**
 * Distillation of one row in plain Java; the formulas are {@link GatedDkd}'s. Logarithms of masses
 * are at the temperature of the loss: q of the teacher, p of the student.
 */
final class DkdRow {
  private final float[] z;
  private final int from;
  private final TeacherRows teacher;
  private final int i;
  private final int target;
  private final int vocab;

  // Set by loss().
  private double t;
  private double qRest;
  private double pRest;
  private double factor;
  private double shift;
  private double beta;

  /**
   * A row of logits and of what the teacher says.
   *
   * @param z logits of the student
   * @param from index of the row's first logit
   * @param i row of the teacher
   */
  DkdRow(float[] z, int from, TeacherRows teacher, int i, int target) {
    this.z = z;
    this.from = from;
    this.teacher = teacher;
    this.i = i;
    this.target = target;
    this.vocab = teacher.vocab();
  }

  /** The loss before its weight; writes its gradient times the weight to row i of d. */
  double loss(GatedDkd.Options o, double weight, float[] d) {
    t = o.temperature();
    double qTarget;
    if (teacher.isFull()) {
      int taught = (teacher.first() + i) * vocab;
      qRest = Softmax.logSumExpWithout(teacher.values(), taught, vocab, target, t);
      qTarget = teacher.values()[taught + target] / t;
    } else {
      TeacherRows.Scalars s = teacher.scalars();
      qRest = s.nonTargetLogSumExp()[i];
      qTarget = (s.targetLogProb()[i] + s.logSumExp()[i]) / t;
    }
    pRest = Softmax.logSumExpWithout(z, from, vocab, target, t);
    double pTarget = z[from + target] / t;
    double qAll = Softmax.logAdd(qTarget, qRest);
    double pAll = Softmax.logAdd(pTarget, pRest);
    double qy = Math.exp(qTarget - qAll);
    double qn = Math.exp(qRest - qAll);
    double py = Math.exp(pTarget - pAll);
    double pn = Math.exp(pRest - pAll);
    double tckd =
        Softmax.term(qy, qTarget - qAll, pTarget - pAll)
            + Softmax.term(qn, qRest - qAll, pRest - pAll);
    // The difference of the smaller masses is the more exact one.
    double diff = py > 0.5 ? qn - pn : py - qy;
    boolean plain = o.mode() == GatedDkd.Mode.KD;
    double alpha = plain ? 1 : o.alpha();
    beta = plain ? qn : o.betaDkd();
    factor = t * weight;
    shift = alpha * diff;
    d[i * vocab + target] = (float) (factor * alpha * diff);
    double nckd = teacher.isFull() ? full(d) : listed(d);
    return t * t * (alpha * tckd + beta * nckd);
  }

  /** NCKD over all non-targets; writes their gradients. */
  private double full(float[] d) {
    float[] q = teacher.values();
    int taught = (teacher.first() + i) * vocab;
    double nckd = 0;
    double inv = 1 / t;
    for (int v = 0; v < vocab; v++) {
      if (v != target) {
        nckd += one(q[taught + v] * inv - qRest, z[from + v] * inv - pRest, v, d);
      }
    }
    return nckd;
  }

  /** The term of one id, from its log masses; writes its gradient. */
  private double one(double logQ, double logP, int v, float[] d) {
    double q = Math.exp(logQ);
    double p = Math.exp(logP);
    d[i * vocab + v] = (float) (factor * (beta * (p - q) - shift * p));
    return Softmax.term(q, logQ, logP);
  }

  /** NCKD over the listed ids and the bucket of all others; writes their gradients. */
  private double listed(float[] d) {
    int k = teacher.k();
    int[] ids = teacher.ids();
    double inv = 1 / t;
    boolean[] listed = new boolean[vocab];
    listed[target] = true;
    double nckd = 0;
    double qListed = 0;
    int others = vocab - 1;
    for (int j = i * k; j < (i + 1) * k; j++) {
      int v = ids[j];
      if (v == target) {
        continue;
      }
      listed[v] = true;
      others--;
      double logQ = teacher.values()[j] * inv - qRest;
      qListed += Math.exp(logQ);
      nckd += one(logQ, z[from + v] * inv - pRest, v, d);
    }
    return others == 0 ? nckd : nckd + tail(listed, Math.max(0, 1 - qListed), d);
  }

  /**
   * The term of the ids that are neither listed nor the target, as one bucket; writes their
   * gradients.
   *
   * @param qTail the teacher's mass, which is what the listed ids leave
   */
  private double tail(boolean[] listed, double qTail, float[] d) {
    double inv = 1 / t;
    float max = Float.NEGATIVE_INFINITY;
    for (int v = 0; v < vocab; v++) {
      if (!listed[v]) {
        max = Math.max(max, z[from + v]);
      }
    }
    double[] share = new double[vocab];
    double sum = 0;
    for (int v = 0; v < vocab; v++) {
      if (!listed[v]) {
        share[v] = Math.exp(((double) z[from + v] - max) * inv);
        sum += share[v];
      }
    }
    double logTail = max * inv + Math.log(sum) - pRest;
    double pTail = Math.exp(logTail);
    double scale = factor * (beta * (pTail - qTail) - shift * pTail) / sum;
    for (int v = 0; v < vocab; v++) {
      if (!listed[v]) {
        d[i * vocab + v] = (float) (scale * share[v]);
      }
    }
    return Softmax.term(qTail, Math.log(qTail), logTail);
  }
}
