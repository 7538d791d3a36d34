package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;

/**
 * Online weight of the distillation term (GRACE, arXiv 2601.22709, section 3): ema = decay ema + (1
 * - decay) x, starting at the first x; beta = clip(beta + eta (ema - tau), min, max). One update
 * per optimizer step. Not for use by several threads.
 */
final class IbController {
  private final double tau;
  private final double eta;
  private final double min;
  private final double max;
  private final double decay;
  private State state;

  /**
   * What a checkpoint must hold.
   *
   * @param beta current weight
   * @param ema average of the loss; meaningless before the first update
   * @param started whether there was an update
   */
  record State(double beta, double ema, boolean started) {}

  /**
   * Creates a controller.
   *
   * @param tau target of the loss
   * @param eta step size, at least 0
   * @param init first beta, within [min, max]
   * @param decay of the average, in [0, 1)
   */
  IbController(double tau, double eta, double init, double min, double max, double decay) {
    if (!Double.isFinite(tau)) {
      throw GraceException.user("controller: tau is %s; allowed are finite numbers", tau);
    }
    if (!(eta >= 0 && eta < 1e9)) {
      throw GraceException.user(
          "controller: eta is %s; allowed are finite numbers of at least 0", eta);
    }
    if (!(min >= 0 && min <= max && max < 1e9)) {
      throw GraceException.user(
          "controller: bounds are %s and %s; allowed is 0 <= min <= max", min, max);
    }
    if (!(decay >= 0 && decay < 1)) {
      throw GraceException.user("controller: decay is %s; allowed are 0 to below 1", decay);
    }
    this.tau = tau;
    this.eta = eta;
    this.min = min;
    this.max = max;
    this.decay = decay;
    state(new State(init, 0, false));
  }

  /** A controller that never moves: beta stays at the value. */
  static IbController fixed(double beta) {
    return new IbController(0, 0, beta, beta, beta, 0);
  }

  /**
   * Feeds the loss of one optimizer step.
   *
   * @return the new beta
   */
  double update(double gdkd) {
    if (!Double.isFinite(gdkd)) {
      throw GraceException.data("controller: the loss is %s; allowed are finite numbers", gdkd);
    }
    double ema = state.started() ? decay * state.ema() + (1 - decay) * gdkd : gdkd;
    state = new State(Math.max(min, Math.min(max, state.beta() + eta * (ema - tau))), ema, true);
    return state.beta();
  }

  /** Current weight, within [min, max]. */
  double beta() {
    return state.beta();
  }

  /** Current average; 0 before the first update. */
  double ema() {
    return state.ema();
  }

  /** State for a checkpoint. */
  State state() {
    return state;
  }

  /** Restores a state. */
  void state(State s) {
    if (!(s.beta() >= min && s.beta() <= max)) {
      throw GraceException.user("controller: beta is %s; allowed are %s to %s", s.beta(), min, max);
    }
    if (!Double.isFinite(s.ema())) {
      throw GraceException.data("controller: ema is %s; allowed are finite numbers", s.ema());
    }
    this.state = s;
  }
}
