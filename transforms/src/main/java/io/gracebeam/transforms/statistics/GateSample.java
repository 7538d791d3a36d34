package io.gracebeam.transforms.statistics;

import java.io.Serializable;

/**
 * One observed answer (or answer token) of the teacher.
 *
 * @param type question type, for example {@code open}
 * @param entropy entropy of the teacher's distribution at temperature 1, in nats
 * @param vocabulary size of the logit axis, at least 2; the entropy is divided by its logarithm
 * @param confidence probability of the answer that was given, in [0, 1]
 * @param error how wrong the answer was, in [0, 1]; 0 right, 1 wrong
 */
public record GateSample(
    String type, double entropy, int vocabulary, double confidence, double error)
    implements Serializable {
  /**
   * Checks the ranges.
   *
   * @throws IllegalArgumentException where a value is not a number or out of its range
   */
  public GateSample {
    java.util.Objects.requireNonNull(type, "type");
    if (vocabulary < 2) {
      throw new IllegalArgumentException("vocabulary is " + vocabulary + "; it must be at least 2");
    }
    if (!(entropy >= -1e-6 && entropy <= Math.log(vocabulary) * (1 + 1e-4) + 1e-6)) {
      throw new IllegalArgumentException(
          "entropy is " + entropy + "; allowed is 0 to ln(" + vocabulary + ")");
    }
    unit("confidence", confidence);
    unit("error", error);
  }

  private static void unit(String what, double value) {
    if (!(value >= -1e-6 && value <= 1 + 1e-6)) {
      throw new IllegalArgumentException(what + " is " + value + "; allowed is 0 to 1");
    }
  }
}
